"""`dynamic_mask_head` as a PyTorch operator: shapes for the compiler, the gradient, and what autocast does with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.backends.registry import register

from . import library

MAX_LAYERS = 4
MAX_CHANNELS = 16
"""Of hidden layers and of features; kernels/dynamic_mask_head/dynamic_mask_head_math.h says the same."""


def dynamic_mask_head(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    coordinates: str = "relative",
    use_features: bool = True,
    upsample_factor: int = 2,
) -> Tensor:
    """`condinst.ops.dynamic_mask_head` by the operator library."""
    return torch.ops.condinst.dynamic_mask_head(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        feature_stride,
        num_layers,
        channels,
        coordinates,
        use_features,
        upsample_factor,
    )


def unsupported_reason(mask_features: Tensor, params: Tensor, *, num_layers: int, channels: int) -> str | None:
    """Why the kernels of `dynamic_mask_head` and `dynamic_mask_loss` cannot run such a network, or None."""
    if num_layers > MAX_LAYERS:
        return f"has up to {MAX_LAYERS} layers, got num_layers {num_layers}"
    if channels > MAX_CHANNELS:
        return f"has up to {MAX_CHANNELS} channels, got channels {channels}"
    if mask_features.shape[1] > MAX_CHANNELS:
        return f"has up to {MAX_CHANNELS} channels of features, got mask_features of {mask_features.shape[1]}"
    return None


def fake_gradients(mask_features: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Empty gradients of both, contiguous as the kernels give them."""
    return mask_features.new_empty(mask_features.shape), params.new_empty(params.shape)


def _fake(mask_features: Tensor, params: Tensor, *rest: Any) -> Tensor:
    height, width = mask_features.shape[-2:]
    factor = rest[-1]
    return mask_features.new_empty(params.shape[0], height * factor, width * factor)


def _fake_backward(_: Tensor, mask_features: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return fake_gradients(mask_features, params)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.condinst.dynamic_mask_head_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (*gradients, *[None] * 9)


def _double_backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
    raise NotImplementedError(
        "dynamic_mask_head: the native backends have no second derivative; use backend='reference'"
    )


_unavailable = library.reason_against("dynamic_mask_head")
if _unavailable is None:
    torch.library.register_fake("condinst::dynamic_mask_head", _fake)
    torch.library.register_fake("condinst::dynamic_mask_head_backward", _fake_backward)
    torch.library.register_autograd("condinst::dynamic_mask_head", _backward, setup_context=_setup_context)
    torch.library.register_autograd("condinst::dynamic_mask_head_backward", _double_backward)
    # the kernels compute in float32 from half precision as it is
    library.register_autocast_as_given("dynamic_mask_head")

register(
    "dynamic_mask_head",
    "cpp",
    dynamic_mask_head,
    unavailable=_unavailable,
    unsupported_reason=unsupported_reason,
)
