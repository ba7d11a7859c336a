"""Times `fcos_targets`: ``python benchmarks/bench_fcos_targets.py``.

The floor is writing the results: 36 bytes per location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    num_locations = sum(height * width for height, width in sample.kwargs["level_sizes"])
    return {"forward": 36 * sample.kwargs["num_images"] * num_locations}


if __name__ == "__main__":
    time_operator("fcos_targets", __doc__, bytes_moved, dtypes=("float32",))
