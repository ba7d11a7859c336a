"""`dynamic_mask_loss`: mask head, upsampling, sigmoid and dice loss in one operator (sections 3.1 and 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import (
    check_choice,
    check_dims,
    check_index_range,
    check_positive,
    check_same_device,
    check_shape,
    check_tensor,
)
from condinst.ops.common.mask_network import MaskHeadShape, check_mask_head_inputs


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
    backend: str | None = None,
) -> Tensor:
    """Dice loss (Eq. 5) of the masks that `dynamic_mask_head` predicts for K instances, without these masks in memory.

    The same as ``dice_loss(dynamic_mask_head(...).sigmoid(), target_masks[target_indices])`` before any rounding to
    half precision. The native backends keep two numbers per instance for the gradient and compute the masks again, so
    that memory does not grow with instances x pixels. Many instances may share a target, which is not copied.

    Arithmetic is in float32, or in float64 for float64 features, also under autocast. Gradients flow to `mask_features`
    and `params`. The native backends have first-order gradients only. The result is the same from run to run and for
    any number of threads, gradients included.

    Args:
        mask_features, params, locations, image_indices, sizes_of_interest: see `dynamic_mask_head`.
        target_masks: [G, H * upsample_factor, W * upsample_factor] bool or uint8 (0 and 1).
        target_indices: [K] int64 in 0 .. G-1: the target of each instance.
        feature_stride, num_layers, channels, coordinates, use_features, upsample_factor: see `dynamic_mask_head`.
        eps: positive; makes the loss of an empty mask and an empty target defined.
        reduction: "mean" over instances (0 when K = 0), "sum", or "none".
        backend: see `condinst.backends.registry`.

    Returns:
        [] or, with reduction "none", [K]; float64 for float64 features, otherwise float32.

    Raises:
        TypeError, ValueError, NotImplementedError: see `dynamic_mask_head`; `target_indices` is treated like
            `image_indices`.
    """
    shape = MaskHeadShape(feature_stride, num_layers, channels, coordinates, use_features, upsample_factor)
    check_mask_head_inputs(mask_features, params, locations, image_indices, sizes_of_interest, shape)
    check_tensor("target_masks", target_masks, (torch.bool, torch.uint8))
    check_dims("target_masks", target_masks, 3)
    check_tensor("target_indices", target_indices, (torch.int64,))
    height, width = mask_features.shape[-2:]
    num_targets = target_masks.shape[0]
    check_shape("target_masks", target_masks, (num_targets, height * upsample_factor, width * upsample_factor))
    check_shape("target_indices", target_indices, (params.shape[0],))
    for name, tensor in (("target_masks", target_masks), ("target_indices", target_indices)):
        check_same_device(name, tensor, "mask_features", mask_features)
    check_index_range("target_indices", target_indices, num_targets)
    check_positive("eps", eps)
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    implementation = select(
        "dynamic_mask_loss", backend, mask_features, params, num_layers=num_layers, channels=channels
    )
    return implementation(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        target_masks,
        target_indices,
        **shape.as_keywords(),
        eps=eps,
        reduction=reduction,
    )
