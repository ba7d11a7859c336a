"""Batch normalisation with constant statistics and constant affine terms, rounding as detectron2 does."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d


class FrozenBatchNorm(FrozenBatchNorm2d):
    """torchvision's `FrozenBatchNorm2d`, with the two orders of rounding of detectron2's.

    Without a gradient the fused `batch_norm` runs, with one a scale and a shift. The two differ in the last bit, enough
    to flip ReLUs and move gradient norms of an AdelaiDet checkpoint by 1e-3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if x.requires_grad:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
