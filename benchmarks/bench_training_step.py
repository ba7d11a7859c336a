"""Times a training step and its losses alone, with our kernels and with the reference.

``python benchmarks/bench_training_step.py``. ResNet-50, two images of 800 x 1088; a step takes seconds on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch

from condinst import load_config
from condinst.benchmarking.results import append_rows
from condinst.benchmarking.tables import samples_table
from condinst.benchmarking.training_step import LOSSES, WHOLE, measure_training_step

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = measure_training_step(device, load_config("condinst_r50_1x"), progress=print)
    for op in (WHOLE, LOSSES):
        print(f"\n{samples_table([row for row in rows if row.op == op]).markdown()}")
    print(f"\n{len(rows)} rows added to {append_rows(rows, Path(__file__).parent / 'results').name}")
