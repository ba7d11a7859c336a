"""Times `matrix_nms`: ``python benchmarks/bench_matrix_nms.py``.

The floor in the table is the time to read each mask once; how many pairs are compared depends on the masks.
"""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.operators import benchmark
from condinst.ops.matrix_nms.spec import SPEC
from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sum(arg.nbytes for arg in sample.args)}


if __name__ == "__main__":
    # the dtype is that of the scores alone, and the reference takes seconds
    benchmark(SPEC, bytes_moved, Path(__file__).parent / "results", dtypes=(torch.float32,), rounds=5)
