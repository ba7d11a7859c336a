"""`masks_to_rle` as a PyTorch operator that gives positions; `condinst._host` writes COCO's strings of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.reference.masks_to_rle import EncodedMasks

from .registration import register_rules


def adapt(namespace: str) -> Callable[..., EncodedMasks]:
    """Register the rules; returns a function with the signature of the reference."""
    ops = getattr(torch.ops, namespace)

    def masks_to_rle(
        mask_logits: Tensor,
        *,
        mask_stride: int,
        network_size: tuple[int, int],
        output_size: tuple[int, int],
        threshold: float = 0.5,
    ) -> EncodedMasks:
        positions, offsets = ops.masks_to_rle(mask_logits, mask_stride, *network_size, *output_size, threshold)
        return _encoded(positions, offsets, output_size)

    register_rules(namespace, "masks_to_rle", fake=_fake)
    return masks_to_rle


def _encoded(positions: Tensor, offsets: Tensor, size: tuple[int, int]) -> EncodedMasks:
    """Positions [R] where masks change, of mask i those from offsets[i] on, as COCO's run lengths."""
    from condinst import _host  # built with the operator library, and not asked for without it

    counts, areas, boxes = _host.encode_runs(
        positions.cpu().numpy(), offsets.cpu().numpy(), *size, torch.get_num_threads()
    )
    rles = [{"size": [*size], "counts": string} for string in counts]
    return EncodedMasks(rles, torch.from_numpy(areas), torch.from_numpy(boxes))


def _fake(
    mask_logits: Tensor,
    mask_stride: int,
    network_height: int,
    network_width: int,
    output_height: int,
    output_width: int,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    num_changes = torch.library.get_ctx().new_dynamic_size()
    offsets = mask_logits.new_empty(mask_logits.shape[0] + 1, dtype=torch.int64)
    return mask_logits.new_empty(num_changes, dtype=torch.int32), offsets
