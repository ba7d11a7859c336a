"""Times `pack_masks`: ``python benchmarks/bench_pack_masks.py``.

The operator is bound by memory: it must read each pixel and write a bit of it. That, over the measured bandwidth, is
the floor in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    (masks,) = sample.args
    return {"forward": masks.nbytes + masks.numel() // 8}


if __name__ == "__main__":
    time_operator("pack_masks", __doc__, bytes_moved)
