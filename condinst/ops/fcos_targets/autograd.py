"""`fcos_targets` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.fcos_targets import FCOSTargets

MAX_LEVELS = 32
"""The same number as in kernels/fcos_targets/fcos_targets.h."""


def unsupported_reason(boxes: Tensor, *, num_levels: int) -> str | None:
    """Why the C++ and CUDA kernels cannot fill such a pyramid, or None."""
    return None if num_levels <= MAX_LEVELS else f"has up to {MAX_LEVELS} levels, got {num_levels}"


def register(namespace: str) -> Callable[..., FCOSTargets]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def fcos_targets(
        boxes: Tensor,
        labels: Tensor,
        centers: Tensor | None,
        image_indices: Tensor,
        *,
        num_images: int,
        num_classes: int,
        level_sizes: list[tuple[int, int]],
        strides: tuple[int, ...],
        sizes_of_interest: tuple[int, ...],
        radius: float = 1.5,
    ) -> FCOSTargets:
        targets = ops.fcos_targets(
            boxes.float(),
            labels,
            None if centers is None else centers.float(),
            image_indices,
            num_images,
            num_classes,
            [side for size in level_sizes for side in size],
            strides,
            sizes_of_interest,
            radius,
        )
        return FCOSTargets(*targets)

    register_operator(namespace, "fcos_targets", fake=_fake)
    return fcos_targets


def _fake(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor | None,
    image_indices: Tensor,
    num_images: int,
    num_classes: int,
    level_sizes: list[int],
    strides: list[int],
    sizes_of_interest: list[int],
    radius: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = sum(height * width for height, width in zip(level_sizes[::2], level_sizes[1::2], strict=True))
    return (
        labels.new_empty(num_images, count),
        boxes.new_empty(num_images, count, 4),
        boxes.new_empty(num_images, count),
        labels.new_empty(num_images, count),
    )
