"""Times `resize_image`: ``python benchmarks/bench_resize_image.py``.

The operator is bound by memory on a GPU: it must read the image and write the result. That, over the measured
bandwidth, is the floor in the table. `tests/ops/test_resize_image.py` compares it with Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    image, (height, width) = sample.args
    return {"forward": image.nbytes + image.shape[0] * height * width}


if __name__ == "__main__":
    time_operator("resize_image", __doc__, bytes_moved)
