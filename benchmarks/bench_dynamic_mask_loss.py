"""Times `dynamic_mask_loss`, forward and backward: ``python benchmarks/bench_dynamic_mask_loss.py``."""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.mask_loss import measure_mask_loss
from condinst.benchmarking.results import append_rows
from condinst.benchmarking.tables import instances_tables

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    study = measure_mask_loss(device, progress=print)
    for table in instances_tables(study.rows):
        print(f"\n{table.markdown()}")
    for left_out in study.not_measured:
        print(f"\n{left_out}")
    print(f"\n{len(study.rows)} rows added to {append_rows(study.rows, Path(__file__).parent / 'results').name}")
