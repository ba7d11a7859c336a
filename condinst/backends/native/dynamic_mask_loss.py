"""`dynamic_mask_loss` as a PyTorch operator: shapes for the compiler, the gradient, and what autocast does with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.backends.registry import register
from condinst.reference.reduction import reduce_losses

from . import library
from .dynamic_mask_head import fake_gradients, unsupported_reason


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
    """`condinst.ops.dynamic_mask_loss` by the operator library."""
    losses, _ = torch.ops.condinst.dynamic_mask_loss(
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


def _fake(mask_features: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if mask_features.dtype == torch.float64 else torch.float32
    num_instances = params.shape[0]
    return params.new_empty(num_instances, dtype=dtype), params.new_empty(num_instances, 2, dtype=dtype)


def _fake_backward(_: Tensor, sums: Tensor, mask_features: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return fake_gradients(mask_features, params)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    sums = output[1]
    ctx.mark_non_differentiable(sums)
    ctx.save_for_backward(sums, *inputs[:7])
    ctx.options = inputs[7:13]


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.condinst.dynamic_mask_loss_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (*gradients, *[None] * 12)


def _double_backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
    raise NotImplementedError(
        "dynamic_mask_loss: the native backends have no second derivative; use backend='reference'"
    )


_unavailable = library.reason_against("dynamic_mask_loss")
if _unavailable is None:
    torch.library.register_fake("condinst::dynamic_mask_loss", _fake)
    torch.library.register_fake("condinst::dynamic_mask_loss_backward", _fake_backward)
    torch.library.register_autograd("condinst::dynamic_mask_loss", _backward, setup_context=_setup_context)
    torch.library.register_autograd("condinst::dynamic_mask_loss_backward", _double_backward)
    # the kernels compute in float32 from half precision as it is
    library.register_autocast_as_given("dynamic_mask_loss")

register(
    "dynamic_mask_loss",
    "cpp",
    dynamic_mask_loss,
    unavailable=_unavailable,
    unsupported_reason=unsupported_reason,
)
