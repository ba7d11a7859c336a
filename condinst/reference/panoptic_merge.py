"""`panoptic_merge` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK_VALUES = 1 << 21
"""Semantic logits brought to image size at a time: bounds their memory, whatever the number of channels."""

VOID_LOGIT = -1e30
"""Stands for NaN: as a probability below every threshold, as a semantic logit below all others."""

TOUCHED = 1e-12
"""The least weight of a cell that PyTorch's own resampling would multiply by, be it by 0."""


class PanopticMaps(NamedTuple):
    """What `condinst.ops.panoptic_merge` gives back; described there."""

    ids: Tensor
    instance_areas: Tensor
    stuff_areas: Tensor


class _Axis(NamedTuple):
    """Pixels along one axis: the sum over t of weights[t] * cells[taps[t]]."""

    taps: Tensor  # [3, pixels] int64
    weights: Tensor  # [3, pixels] float32


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
        ids_here = ids.new_zeros(output[1], output[0])  # [W, H]
        axes = _axes(mask_logits.shape[1:], mask_stride, network, output, ids.device)
        for index in ranked[image_indices[ranked] == image].tolist():
            cells = fixed_sigmoid(mask_logits[index].float())  # [h, w]
            mask = _resample(cells, axes) > mask_threshold  # [W, H]
            free = mask & (ids_here == 0)  # [W, H]
            area, left = int(mask.count_nonzero()), int(free.count_nonzero())
            if area > 0 and (area - left) / area <= overlap_threshold:
                ids_here.masked_fill_(free, 1 + index)
                instance_areas[index] = left
        axes = _axes(semantic_logits.shape[2:], semantic_stride, network, output, ids.device)
        stuff = _winners(semantic_logits[image], axes) - num_thing_channels  # [W, H] below 0 for things
        is_free = (stuff >= 0) & (ids_here == 0)  # [W, H]
        areas = torch.bincount(stuff[is_free], minlength=num_stuff)  # [S]
        areas = areas * (areas >= stuff_area_limit)  # [S]
        kept = is_free.masked_scatter(is_free, areas[stuff[is_free]] > 0)  # [W, H]
        ids_here[kept] = (1 + num_instances + stuff[kept]).int()
        stuff_areas[image] = areas
        ids[image, : output[0], : output[1]] = ids_here.T
    return PanopticMaps(ids, instance_areas, stuff_areas)


def fixed_sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid of float32, in operations that every device rounds alike; `torch.sigmoid` differs between devices.

    Within 4 units in the last place of it for logits in -87 .. 87, constant outside; NaN becomes `VOID_LOGIT`.
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


def _winners(logits: Tensor, axes: tuple[_Axis, _Axis]) -> Tensor:
    """The channel with the highest logit at each pixel, the first of equal ones: [C, h, w] to [W, H]."""
    rows, columns = axes
    cells = torch.where(logits.isnan(), VOID_LOGIT, logits.float()).clamp(VOID_LOGIT, -VOID_LOGIT)  # [C, h, w]
    cells = cells.permute(1, 2, 0).contiguous()  # [h, w, C]
    height, width = rows.taps.shape[1], columns.taps.shape[1]
    winners = torch.empty(width, height, dtype=torch.int64, device=logits.device)  # [W, H]
    chunk = max(1, CHUNK_VALUES // (width * cells.shape[2]))
    for begin in range(0, height, chunk):
        some = _Axis(rows.taps[:, begin : begin + chunk], rows.weights[:, begin : begin + chunk])
        winners[:, begin : begin + chunk] = _resample(cells, (some, columns)).argmax(-1)  # [W, rows]
    return winners


def _resample(cells: Tensor, axes: tuple[_Axis, _Axis]) -> Tensor:
    """[h, w, ...] to [W, H, ...]: rows first, then columns; each product and each sum is rounded to float32."""
    rows, columns = axes
    lines = _along_first(cells, rows).transpose(0, 1).contiguous()  # [w, H, ...]
    return _along_first(lines, columns)


def _along_first(cells: Tensor, axis: _Axis) -> Tensor:
    """[cells, ...] to [pixels, ...]."""
    weights = axis.weights.view(*axis.weights.shape, *[1] * (cells.dim() - 1))  # [3, pixels, 1, ...]
    pixels = cells.index_select(0, axis.taps[0]).mul_(weights[0])
    for tap in (1, 2):
        pixels += cells.index_select(0, axis.taps[tap]).mul_(weights[tap])
    return pixels


def _axes(
    cells: Sequence[int], stride: int, network: tuple[int, int], output: tuple[int, int], device: torch.device
) -> tuple[_Axis, _Axis]:
    rows, columns = (_axis(cells[side], stride, network[side], output[side], device) for side in (0, 1))
    return rows, columns


def _axis(cells: int, stride: int, network: int, pixels: int, device: torch.device) -> _Axis:
    """Aligned upsampling by the stride, crop to the network's size and bilinear resize, as one table.

    Each of the two looks at two neighbours, so that a pixel is a weighted sum of three cells in a row.
    """
    # PyTorch's own positions: single precision, rounded once.
    step = torch.tensor(network, dtype=torch.float32) / torch.tensor(pixels, dtype=torch.float32)
    centers = (torch.arange(pixels, dtype=torch.float32) + 0.5).double()  # [pixels]
    positions = (step.double() * centers - 0.5).float().clamp(min=0)  # [pixels]
    lower = positions.long().clamp(max=network - 1)  # [pixels] of the network's input
    upper = lower if network == pixels else (lower + 1).clamp(max=network - 1)  # [pixels]
    shares = (positions - lower.float()).double()  # [pixels]
    sums = torch.zeros(3, pixels, dtype=torch.float64)
    touched = torch.zeros(3, pixels, dtype=torch.bool)
    first = ((lower - stride // 2).clamp(min=0) // stride)[None]  # [1, pixels] cells
    for fine, part in ((lower, 1 - shares), (upper, shares)):
        shifted = (fine - stride // 2).clamp(min=0)  # [pixels] where the aligned upsampling begins
        left = shifted // stride  # [pixels]
        right = (left + 1).clamp(max=cells - 1)  # [pixels]
        of_right = (shifted % stride).double() / stride  # [pixels]
        sums.scatter_add_(0, left[None] - first, (part * (1 - of_right))[None])
        sums.scatter_add_(0, right[None] - first, (part * of_right)[None])
        touched.scatter_(0, left[None] - first, True)
        if stride > 1:
            touched.scatter_(0, right[None] - first, True)
    weights = sums.float()  # [3, pixels]
    weights = torch.where(touched & (weights < TOUCHED), TOUCHED, weights)
    taps = (first + torch.arange(3)[:, None]).clamp(max=cells - 1)  # [3, pixels] after the last cell the weight is 0
    return _Axis(taps.to(device), weights.to(device))
