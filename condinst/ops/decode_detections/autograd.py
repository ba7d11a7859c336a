"""`decode_detections` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.decode_detections import Candidates

MAX_LEVELS = 16
"""The same number as in kernels/decode_detections/decode_detections.h."""


NOT_IN_TRITON = "it selects from lists whose lengths depend on values, and Triton cannot sort more than a block"


def register(namespace: str) -> Callable[..., Candidates]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def decode_detections(
        class_logits: Tensor,
        centerness_logits: Tensor,
        box_distances: Tensor,
        *,
        level_sizes: list[tuple[int, int]],
        strides: tuple[int, ...],
        score_threshold: float,
        top_k: int,
        threshold_with_centerness: bool = True,
    ) -> Candidates:
        return Candidates(
            *ops.decode_detections(
                class_logits,
                centerness_logits,
                box_distances,
                [length for size in level_sizes for length in size],
                list(strides),
                score_threshold,
                top_k,
                threshold_with_centerness,
            )
        )

    register_operator(namespace, "decode_detections", fake=_fake)
    return decode_detections


def unsupported_reason(class_logits: Tensor, *_: Tensor, level_sizes: list[tuple[int, int]], **__: Any) -> str | None:
    """Why the kernels cannot do a call, or None."""
    if len(level_sizes) > MAX_LEVELS:
        return f"the kernels have at most {MAX_LEVELS} levels, got {len(level_sizes)}"
    num_classes = class_logits.shape[2]
    # any() and not max(..., default=0), which torch.compile of torch 2.11 cannot trace
    if any(height * width * num_classes >= 2**32 for height, width in level_sizes):
        return "the kernels have less than 2^32 pairs of location and class in a level"
    return None


def _fake(
    class_logits: Tensor,
    centerness_logits: Tensor,
    box_distances: Tensor,
    level_sizes: list[int],
    strides: list[int],
    score_threshold: float,
    top_k: int,
    threshold_with_centerness: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch_size, _, num_classes = class_logits.shape
    heights, widths = level_sizes[::2], level_sizes[1::2]
    places = sum(min(top_k, height * width * num_classes) for height, width in zip(heights, widths, strict=True))
    shape = (batch_size, places)
    return (
        class_logits.new_empty(*shape, 4, dtype=torch.float32),
        class_logits.new_empty(shape, dtype=torch.float32),
        class_logits.new_empty(shape, dtype=torch.int64),
        class_logits.new_empty(shape, dtype=torch.int64),
        class_logits.new_empty(batch_size, dtype=torch.int64),
    )
