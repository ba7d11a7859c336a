"""Times `select_top_locations`: ``python benchmarks/bench_select_top_locations.py``.

The floor is reading the object indices and the logits of positive locations, and writing one byte per location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import time_operator

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    class_logits, _, objects = sample.args
    num_positives = int((objects >= 0).sum())
    logits = num_positives * (class_logits.shape[2] + 1) * class_logits.element_size()
    return {"forward": objects.nbytes + objects.numel() + logits}


if __name__ == "__main__":
    time_operator("select_top_locations", __doc__, bytes_moved, dtypes=("float32", "bfloat16"))
