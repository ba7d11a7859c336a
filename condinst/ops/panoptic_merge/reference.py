"""`panoptic_merge` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from condinst.ops.common.resampling import Axis, make_axes, resample

from . import PanopticMaps

CHUNK_VALUES = 1 << 21
"""The most semantic logits that are resampled to image size at a time. Bounds the memory for any number of channels."""

VOID_LOGIT = -1e30
"""Replaces NaN. With any weight above 0, the pixel is below every threshold and every other logit."""


def panoptic_merge(
    mask_logits: Tensor,
    scores: Tensor,
    image_indices: Tensor,
    semantic_logits: Tensor,
    *,
    network_sizes: Sequence[tuple[int, int]],
    output_sizes: Sequence[tuple[int, int]],
    num_thing_channels: int,
    mask_stride: int = 4,
    semantic_stride: int = 4,
    score_threshold: float = 0.45,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.4,
    stuff_area_limit: int = 4096,
) -> PanopticMaps:
    """The definition of `condinst.ops.panoptic_merge`; arguments and result are described there."""
    num_instances = mask_logits.shape[0]
    num_images, num_channels = semantic_logits.shape[:2]
    num_stuff = num_channels - num_thing_channels
    canvas = [max((size[side] for size in output_sizes), default=0) for side in (0, 1)]
    ids = semantic_logits.new_zeros(num_images, *canvas, dtype=torch.int32)  # [B, H, W]
    instance_areas = image_indices.new_zeros(num_instances)  # [K]
    stuff_areas = image_indices.new_zeros(num_images, num_stuff)  # [B, S]
    scores = scores.float()  # [K]
    ranked = scores.argsort(descending=True, stable=True)  # [K]
    ranked = ranked[scores[ranked] >= torch.tensor(score_threshold, dtype=torch.float32)]  # without NaN
    for image, (network, output) in enumerate(zip(network_sizes, output_sizes, strict=True)):
        # All maps of pixels are [W, H]: index_select copies whole lines along the first dimension, which is faster.
        image_ids = ids.new_zeros(output[1], output[0])  # [W, H]
        axes = make_axes(mask_logits.shape[1:], mask_stride, network, output, ids.device)
        for index in ranked[image_indices[ranked] == image].tolist():
            cells = fixed_sigmoid(mask_logits[index].float())  # [h, w]
            mask = resample(cells, axes) > mask_threshold  # [W, H]
            free = mask & (image_ids == 0)  # [W, H]
            area, left = int(mask.count_nonzero()), int(free.count_nonzero())
            if area > 0 and (area - left) / area <= overlap_threshold:
                image_ids.masked_fill_(free, 1 + index)
                instance_areas[index] = left
        axes = make_axes(semantic_logits.shape[2:], semantic_stride, network, output, ids.device)
        stuff = _winners(semantic_logits[image], axes) - num_thing_channels  # [W, H] below 0 for things
        is_free = (stuff >= 0) & (image_ids == 0)  # [W, H]
        areas = torch.bincount(stuff[is_free], minlength=num_stuff)  # [S]
        areas = areas * (areas >= stuff_area_limit)  # [S]
        kept = is_free.masked_scatter(is_free, areas[stuff[is_free]] > 0)  # [W, H]
        image_ids[kept] = (1 + num_instances + stuff[kept]).int()
        stuff_areas[image] = areas
        ids[image, : output[0], : output[1]] = image_ids.T
    return PanopticMaps(ids, instance_areas, stuff_areas)


def fixed_sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid of float32, in operations that every device rounds alike; `torch.sigmoid` differs between devices.

    For logits in -87 .. 87 it is within 4 units in the last place of the exact value, and constant outside; NaN becomes
    `VOID_LOGIT`.
    """
    x = (-logits).clamp(-87.0, 87.0)
    whole = torch.round(x * 1.4426950216293335)  # n of e^x = 2^n * e^r
    r = (x - whole * 0.693145751953125) - whole * 1.428606765330187e-06  # log(2) in two parts, the first product exact
    power = r * 0.0013888889225199819 + 0.008333333767950535  # Taylor's series
    for coefficient in (0.0416666679084301, 0.1666666716337204, 0.5, 1.0, 1.0):
        power = power * r + coefficient
    exponent = (whole.nan_to_num().int() + 127) << 23  # the bits of 2^n
    probabilities = 1.0 / (power * exponent.view(torch.float32) + 1.0)
    return torch.where(logits.isnan(), VOID_LOGIT, probabilities)


def _winners(logits: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """The channel with the highest logit at each pixel, the first of equal ones: [C, h, w] to [W, H]."""
    rows, columns = axes
    cells = torch.where(logits.isnan(), VOID_LOGIT, logits.float()).clamp(VOID_LOGIT, -VOID_LOGIT)  # [C, h, w]
    cells = cells.permute(1, 2, 0).contiguous()  # [h, w, C]
    height, width = rows.taps.shape[1], columns.taps.shape[1]
    winners = torch.empty(width, height, dtype=torch.int64, device=logits.device)  # [W, H]
    chunk = max(1, CHUNK_VALUES // (width * cells.shape[2]))
    for begin in range(0, height, chunk):
        chunk_rows = Axis(rows.taps[:, begin : begin + chunk], rows.weights[:, begin : begin + chunk])
        winners[:, begin : begin + chunk] = resample(cells, (chunk_rows, columns)).argmax(-1)  # [W, rows]
    return winners
