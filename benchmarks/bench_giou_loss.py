"""Times `giou_loss` beside torchvision's `generalized_box_iou_loss`: ``python benchmarks/bench_giou_loss.py``.

For some thousands of boxes it is the number of calls that counts and not the bandwidth.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torch import Tensor

from condinst.benchmarking.operators import benchmark
from condinst.ops.giou_loss.spec import SPEC
from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    read = sum(tensor.nbytes for tensor in sample.args)
    return {"forward": read, "training": read + sample.args[0].nbytes}


def torchvision_loss(predicted: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """torchvision's loss, which has corners for distances and is not smoothed, with weights."""
    signs = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=predicted.device)
    losses = torchvision.ops.generalized_box_iou_loss(predicted * signs, targets * signs)
    return (losses * weights).sum()


if __name__ == "__main__":
    benchmark(SPEC, bytes_moved, Path(__file__).parent / "results", peers={"torchvision": torchvision_loss})
