"""Times `sigmoid_focal_loss` beside torchvision's: ``python benchmarks/bench_sigmoid_focal_loss.py``.

Forward must read logits and labels once, and training must write the gradient, too. torchvision takes one-hot floating
targets; making them is a part of what it needs.
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
    logits, labels = sample.args
    read = logits.nbytes + labels.nbytes
    return {"forward": read, "training": read + logits.nbytes}


def peers() -> dict[str, Callable[..., Any]]:
    """What torchvision has for the same purpose."""
    import torch
    import torchvision

    def torchvision_loss(logits: Tensor, labels: Tensor) -> Tensor:
        """From class indices to the sum of torchvision's losses."""
        targets = (labels[:, None] == torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
        return torchvision.ops.sigmoid_focal_loss(logits, targets, reduction="sum")

    return {"torchvision": torchvision_loss}


if __name__ == "__main__":
    time_operator("sigmoid_focal_loss", __doc__, bytes_moved, peers=peers)
