"""Times `panoptic_merge`: ``python benchmarks/bench_panoptic_merge.py``.

It must read both kinds of logits and write four bytes of each pixel. That, over the measured bandwidth, is the floor in
the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    masks, _, _, semantics = sample.args
    pixels = sum(height * width for height, width in sample.kwargs["output_sizes"])
    return {"forward": masks.nbytes + semantics.nbytes + 4 * pixels}


if __name__ == "__main__":
    time_operator("panoptic_merge", __doc__, bytes_moved)
