"""Times every built-in model with random weights at its test size: ``python benchmarks/bench_models.py [CONFIG ...]``.

Each finds 100 instances, see `condinst.benchmarking.whole_model`. Half a minute each on one core; all are in memory
together, 5 GB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from condinst import config_names
from condinst.benchmarking.results import append_rows
from condinst.benchmarking.whole_model import measure_models

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = measure_models(device, sys.argv[1:] or config_names(), progress=print)
    for row in rows:
        print(f"{row.sample}: {row.p50_ms:.0f} ms ({row.p20_ms:.0f} to {row.p80_ms:.0f}), {row.peak_mib:.0f} MiB")
    print(f"{len(rows)} rows added to {append_rows(rows, Path(__file__).parent / 'results').name}")
