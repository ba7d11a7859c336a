"""`dynamic_mask_loss` in plain PyTorch."""

from __future__ import annotations

from torch import Tensor

from condinst.ops.common.mask_network import MaskHeadShape
from condinst.ops.dice_loss.reference import dice_loss
from condinst.ops.dynamic_mask_head.reference import wide_mask_logits


def dynamic_mask_loss(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    target_masks: Tensor,
    target_indices: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    coordinates: str = "relative",
    use_features: bool = True,
    upsample_factor: int = 2,
    eps: float = 1e-5,
    reduction: str = "mean",
) -> Tensor:
    """The definition of `condinst.ops.dynamic_mask_loss`; arguments and result are described there."""
    logits = wide_mask_logits(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        MaskHeadShape(feature_stride, num_layers, channels, coordinates, use_features, upsample_factor),
    )  # [K, H*f, W*f]
    targets = target_masks.index_select(0, target_indices)  # [K, H*f, W*f]
    return dice_loss(logits.sigmoid(), targets, eps=eps, reduction=reduction)
