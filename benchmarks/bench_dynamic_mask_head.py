"""Times `dynamic_mask_head`: ``python benchmarks/bench_dynamic_mask_head.py``.

The study of ``condinst benchmark mask-head``, with torch.compile at every number of instances, and with rows that stay.
"""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.mask_head import measure_mask_head
from condinst.benchmarking.results import append_rows
from condinst.benchmarking.study import Limits
from condinst.benchmarking.tables import mask_head_tables

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    limits = Limits(seconds_per_setting=15.0)
    compiled = "all" if device.type == "cpu" else "one"  # `make gpu` has a minute for each script
    study = measure_mask_head(device, rounds=15, compiled=compiled, limits=limits, progress=print).study
    for table in mask_head_tables(study.rows):
        print(f"\n{table.markdown()}")
    for left_out in study.not_measured:
        print(f"\n{left_out}")
    print(f"\n{len(study.rows)} rows added to {append_rows(study.rows, Path(__file__).parent / 'results').name}")
