"""`resize_image` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator

NOT_IN_TRITON = "it gathers bytes by a table of neighbours, which the CUDA kernels do in as few lines"


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
        return ops.resize_image(image, *size)

    register_operator(namespace, "resize_image", fake=_fake)
    return resize_image


def _fake(image: Tensor, height: int, width: int) -> Tensor:
    return image.new_empty(image.shape[0], height, width)
