"""`matrix_nms` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def matrix_nms(
        masks: Tensor,
        scores: Tensor,
        labels: Tensor,
        image_indices: Tensor,
        *,
        kernel: str = "gaussian",
        sigma: float = 2.0,
    ) -> Tensor:
        return ops.matrix_nms(masks, scores, labels, image_indices, kernel, sigma)

    register_operator(namespace, "matrix_nms", fake=_fake)
    return matrix_nms


def _fake(masks: Tensor, scores: Tensor, labels: Tensor, image_indices: Tensor, kernel: str, sigma: float) -> Tensor:
    return scores.new_empty(scores.shape, dtype=torch.float32)
