"""`masks_to_rle` as a PyTorch operator that returns the strings of all masks in one tensor."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.masks_to_rle import EncodedMasks

NOT_IN_TRITON = "the size of its output depends on values, and Triton has no compaction"


def register(namespace: str) -> Callable[..., EncodedMasks]:
    """Register the fake kernel and the gradient in a namespace; returns a function like the reference."""
    ops = getattr(torch.ops, namespace)

    def masks_to_rle(
        mask_logits: Tensor,
        *,
        mask_stride: int,
        network_size: tuple[int, int],
        output_size: tuple[int, int],
        threshold: float = 0.5,
    ) -> EncodedMasks:
        counts, offsets, areas, boxes = ops.masks_to_rle(
            mask_logits, mask_stride, *network_size, *output_size, threshold
        )
        text = memoryview(counts.numpy())
        strings = [bytes(text[begin:end]) for begin, end in pairwise(offsets.tolist())]
        return EncodedMasks([{"size": [*output_size], "counts": string} for string in strings], areas, boxes)

    register_operator(namespace, "masks_to_rle", fake=_fake)
    return masks_to_rle


def _fake(
    mask_logits: Tensor,
    mask_stride: int,
    network_height: int,
    network_width: int,
    output_height: int,
    output_width: int,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_masks = mask_logits.shape[0]
    num_characters = torch.library.get_ctx().new_dynamic_size()
    return (
        torch.empty(num_characters, dtype=torch.uint8, device="cpu"),
        torch.empty(num_masks + 1, dtype=torch.int64, device="cpu"),
        torch.empty(num_masks, dtype=torch.int64, device="cpu"),
        torch.empty(num_masks, 4, device="cpu"),
    )
