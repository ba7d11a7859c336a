"""Batch normalisation with constant statistics and constant affine terms, which rounds as in detectron2."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d


class FrozenBatchNorm(FrozenBatchNorm2d):
    """torchvision's `FrozenBatchNorm2d`, with both orders of rounding of detectron2.

    Without a gradient it runs the fused `batch_norm`, with a gradient a scale and a shift. These differ in the last
    bit, which is enough to flip ReLUs and to change gradient norms of an AdelaiDet checkpoint by 1e-3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if x.requires_grad:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
