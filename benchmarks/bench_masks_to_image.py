"""Times `masks_to_image`: ``python benchmarks/bench_masks_to_image.py``.

It must read the logits and write a byte of each pixel. That, over the measured bandwidth, is the floor in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    (logits,) = sample.args
    height, width = sample.kwargs["output_size"]
    return {"forward": logits.nbytes + logits.shape[0] * height * width}


if __name__ == "__main__":
    time_operator("masks_to_image", __doc__, bytes_moved)
