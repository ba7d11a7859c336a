"""Times `mask_centers`: ``python benchmarks/bench_mask_centers.py``. The floor is reading the masks once."""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.operators import benchmark
from condinst.ops.mask_centers.spec import SPEC
from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sample.args[0].nbytes}


if __name__ == "__main__":
    benchmark(SPEC, bytes_moved, Path(__file__).parent / "results", dtypes=(torch.bool,))
