"""Times `nms` beside torchvision: ``python benchmarks/bench_nms.py``.

The floor is reading boxes, scores, labels and images once; comparing the boxes takes longer than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from studies.program import time_operator

if TYPE_CHECKING:
    from torch import Tensor

    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sum(arg.nbytes for arg in sample.args)}


def peers() -> dict[str, Callable[..., Any]]:
    """What torchvision has for the same purpose."""
    import torch
    from torchvision.ops import batched_nms

    def torchvision_nms(
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        image_indices: Tensor,
        *,
        iou_threshold: float,
        num_images: int,
        **_: Any,
    ) -> list[Tensor]:
        """`batched_nms` of one image after another, as detectors call it; boxes and scores as float32."""
        kept = []
        for image in range(num_images):
            own = torch.nonzero(image_indices == image).squeeze(1) if num_images > 1 else slice(None)
            kept.append(batched_nms(boxes[own].float(), scores[own].float(), labels[own], iou_threshold))
        return kept

    return {"torchvision.ops.batched_nms": torchvision_nms}


if __name__ == "__main__":
    time_operator("nms", __doc__, bytes_moved, dtypes=("float32",), peers=peers)
