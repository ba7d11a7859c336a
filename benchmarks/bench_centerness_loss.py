"""Times `centerness_loss`: ``python benchmarks/bench_centerness_loss.py``.

For some thousands of locations it is the number of calls that counts and not the bandwidth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    logits, targets = sample.args
    return {"forward": logits.nbytes + targets.nbytes, "training": 2 * logits.nbytes + targets.nbytes}


if __name__ == "__main__":
    time_operator("centerness_loss", __doc__, bytes_moved)
