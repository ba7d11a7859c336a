"""`dynamic_mask_head` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.common.mask_network import unsupported_reason as unsupported_reason


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

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
        return ops.dynamic_mask_head(
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

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ops.dynamic_mask_head_backward(grad, *ctx.saved_tensors, *ctx.options)
        return (*grads, *[None] * 9)

    register_operator(
        namespace,
        "dynamic_mask_head",
        fake=_fake,
        fake_backward=_fake_backward,
        setup_context=_setup_context,
        backward=backward,
    )
    return dynamic_mask_head


def _fake(mask_features: Tensor, params: Tensor, *rest: Any) -> Tensor:
    factor = rest[-1]
    height, width = mask_features.shape[-2:]
    return mask_features.new_empty(params.shape[0], height * factor, width * factor)


def _fake_backward(grad_logits: Tensor, mask_features: Tensor, params: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return mask_features.new_empty(mask_features.shape), params.new_empty(params.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]
