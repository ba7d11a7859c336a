"""Times `mask_centers`: ``python benchmarks/bench_mask_centers.py``. The floor is reading the masks once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sample.args[0].nbytes}


if __name__ == "__main__":
    time_operator("mask_centers", __doc__, bytes_moved, dtypes=("bool",))
