"""Times every built-in model with random weights at its test size: ``python benchmarks/bench_models.py [CONFIG ...]``.

Each finds 100 instances, see `condinst.benchmarking.whole_model`. Half a minute each on one core; all are in memory
together, 5 GB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from condinst import config_names
from condinst.benchmarking.results import append_rows, times_text
from condinst.benchmarking.whole_model import measure_models

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rounds = 20 if device.type == "cuda" else 3
    rows = measure_models(device, sys.argv[1:] or config_names(), rounds=rounds, progress=print)
    for row in rows:
        print(f"{row.sample}: {times_text(row)} ms (wall {row.p20_ms:.1f} to {row.p80_ms:.1f}), {row.peak_mib:.0f} MiB")
    print(f"{len(rows)} rows added to {append_rows(rows, Path(__file__).parent / 'results').name}")
