"""Times `dice_loss`: ``python benchmarks/bench_dice_loss.py``.

The operator is bound by memory: forward must read masks and targets once, training must read them twice and write one
gradient. That, over the measured bandwidth, is the floor in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    masks, targets = sample.args
    read = masks.nbytes + targets.nbytes
    return {"forward": read, "training": 2 * read + masks.nbytes}


if __name__ == "__main__":
    time_operator("dice_loss", __doc__, bytes_moved)
