"""Times `fcos_targets`: ``python benchmarks/bench_fcos_targets.py``.

The floor is writing the results: 36 bytes per location.
"""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.operators import benchmark
from condinst.ops.fcos_targets.spec import SPEC
from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    num_locations = sum(height * width for height, width in sample.kwargs["level_sizes"])
    return {"forward": 36 * sample.kwargs["num_images"] * num_locations}


if __name__ == "__main__":
    benchmark(SPEC, bytes_moved, Path(__file__).parent / "results", dtypes=(torch.float32,))
