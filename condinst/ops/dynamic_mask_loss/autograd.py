"""`dynamic_mask_loss` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.common.mask_network import unsupported_reason as unsupported_reason
from condinst.ops.common.reduction import reduce_losses


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

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
        losses, _ = ops.dynamic_mask_loss(
            mask_features,
            params,
            locations,
            image_indices,
            sizes_of_interest,
            target_masks,
            target_indices,
            feature_stride,
            num_layers,
            channels,
            coordinates,
            use_features,
            upsample_factor,
            eps,
        )  # [K], [K, 2]
        return reduce_losses(losses, reduction)

    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        sums, *tensors = ctx.saved_tensors
        grads = ops.dynamic_mask_loss_backward(grad, sums, *tensors, *ctx.options)
        return (*grads, *[None] * 12)

    register_operator(
        namespace,
        "dynamic_mask_loss",
        fake=_fake,
        fake_backward=_fake_backward,
        setup_context=_setup_context,
        backward=backward,
    )
    return dynamic_mask_loss


def _fake(mask_features: Tensor, params: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if mask_features.dtype == torch.float64 else torch.float32
    count = params.shape[0]
    return params.new_empty(count, dtype=dtype), params.new_empty(count, 2, dtype=dtype)


def _fake_backward(
    grad_losses: Tensor, sums: Tensor, mask_features: Tensor, params: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return mask_features.new_empty(mask_features.shape), params.new_empty(params.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    sums = output[1]
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(sums, *inputs[:7])
    ctx.options = inputs[7:-1]
