"""Times `giou_loss` beside torchvision's `generalized_box_iou_loss`: ``python benchmarks/bench_giou_loss.py``.

For some thousands of boxes it is the number of calls that counts and not the bandwidth.
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
    read = sum(tensor.nbytes for tensor in sample.args)
    return {"forward": read, "training": read + sample.args[0].nbytes}


def peers() -> dict[str, Callable[..., Any]]:
    """What torchvision has for the same purpose."""
    import torch
    import torchvision

    def torchvision_loss(predicted: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """torchvision's loss, which has corners for distances and is not smoothed, with weights."""
        signs = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=predicted.device)
        losses = torchvision.ops.generalized_box_iou_loss(predicted * signs, targets * signs)
        return (losses * weights).sum()

    return {"torchvision": torchvision_loss}


if __name__ == "__main__":
    time_operator("giou_loss", __doc__, bytes_moved, peers=peers)
