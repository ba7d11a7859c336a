"""`panoptic_merge`: merges instances and semantic logits into one panoptic map per image (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import (
    FLOATING,
    check_dims,
    check_elements,
    check_image_size,
    check_index_range,
    check_integer,
    check_probability,
    check_same_device,
    check_sequence,
    check_shape,
    check_sides,
    check_size,
    check_stride,
    check_tensor,
)


class PanopticMaps(NamedTuple):
    """The result of `condinst.ops.panoptic_merge`, described there."""

    ids: Tensor
    instance_areas: Tensor
    stuff_areas: Tensor


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
    backend: str | None = None,
) -> PanopticMaps:
    """Panoptic maps at image size: instances by falling score, and stuff at all other pixels.

    1. A mask at image size is computed as in `masks_to_image`: sigmoid, aligned upsampling by the stride, crop of the
       padding, bilinear resize, above `mask_threshold`. A pixel is not in the mask if a cell with a weight above 0 in
       it is NaN.
    2. Instances with a score below `score_threshold` (compared in float32), or NaN, are dropped. The others are ranked
       by falling score; of equal scores the first instance comes first.
    3. In this order, an instance is dropped if its mask is empty, or if it has lost more than `overlap_threshold` of
       its pixels to instances kept before it (lost / area in float64; exactly that share is kept). Otherwise it takes
       those of its pixels that are free.
    4. Every other pixel gets the class of the highest semantic logit, resampled to image size in the same way (logits,
       no softmax); of equal logits the first. NaN counts as -1e30, and logits are clamped to -1e30 .. 1e30. If the
       class is a thing, the pixel is void.
    5. Stuff with fewer than `stuff_area_limit` pixels in an image becomes void.

    Every backend gives the same bits for any input: each product and each sum is rounded to float32 by itself, three
    cells are added in order, rows before columns, and the sigmoid is `fixed_sigmoid` of the reference. Does not wait
    for the device. Has no gradient.

    Args:
        mask_logits: [K, h, w] floating, at `mask_stride`, of the padded network input.
        scores: [K] floating.
        image_indices: [K] int64 in 0 .. B - 1, the image of each instance; -1 for padding, which is ignored.
        semantic_logits: [B, C, h_s, w_s] floating, at `semantic_stride`, C at least 1; things come first.
        network_sizes: (height, width) of each image in the network input, without padding; at most the size of either
            map times its stride.
        output_sizes: (height, width) of each result, less than 2^31 pixels.
        num_thing_channels: 0 .. C.
        mask_stride: pixels of the network input per mask logit.
        semantic_stride: pixels of the network input per semantic logit.
        score_threshold: in 0..1.
        mask_threshold: in 0..1, for probabilities.
        overlap_threshold: in 0..1, share of an instance's pixels.
        stuff_area_limit: in pixels of the result, at least 0.
        backend: see `condinst.backends.registry`.

    Returns:
        ids: [B, largest height, largest width] int32; 0 for void and outside of the image, 1 + k for instance k,
            1 + K + (c - num_thing_channels) for stuff channel c.
        instance_areas: [K] int64, pixels of each instance in `ids`; 0 for instances that were dropped.
        stuff_areas: [B, C - num_thing_channels] int64, pixels of each stuff class in `ids`.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes, sizes or numbers that do not fit; on the CPU also an image index out of range (a GPU ignores
            the instance).
    """
    check_tensor("mask_logits", mask_logits, FLOATING)
    check_dims("mask_logits", mask_logits, 3)
    check_sides("mask_logits", mask_logits)
    check_tensor("scores", scores, FLOATING)
    check_tensor("image_indices", image_indices, (torch.int64,))
    check_tensor("semantic_logits", semantic_logits, FLOATING)
    check_dims("semantic_logits", semantic_logits, 4)
    check_sides("semantic_logits", semantic_logits)
    num_images, num_channels = semantic_logits.shape[:2]
    for name, value in (("scores", scores), ("image_indices", image_indices)):
        check_shape(name, value, (mask_logits.shape[0],))
        check_same_device(name, value, "mask_logits", mask_logits)
    check_same_device("semantic_logits", semantic_logits, "mask_logits", mask_logits)
    check_index_range("image_indices", image_indices, num_images, least=-1)
    if num_channels < 1:
        raise ValueError(f"semantic_logits: expected at least 1 channel, got shape {list(semantic_logits.shape)}")
    check_integer("num_thing_channels", num_thing_channels, 0)
    if num_thing_channels > num_channels:
        raise ValueError(f"num_thing_channels: expected at most {num_channels} (channels), got {num_thing_channels}")
    check_stride("mask_stride", mask_stride)
    check_stride("semantic_stride", semantic_stride)
    covered = [
        min(mask_side * mask_stride, semantic_side * semantic_stride)
        for mask_side, semantic_side in zip(mask_logits.shape[1:], semantic_logits.shape[2:], strict=True)
    ]
    _check_sizes(network_sizes, output_sizes, num_images, covered)
    check_probability("score_threshold", score_threshold)
    check_probability("mask_threshold", mask_threshold)
    check_probability("overlap_threshold", overlap_threshold)
    check_integer("stuff_area_limit", stuff_area_limit, 0)
    with torch.no_grad(), no_tangents():
        return select("panoptic_merge", backend, mask_logits, scores, semantic_logits)(
            mask_logits,
            scores,
            image_indices,
            semantic_logits,
            network_sizes=network_sizes,
            output_sizes=output_sizes,
            num_thing_channels=num_thing_channels,
            mask_stride=mask_stride,
            semantic_stride=semantic_stride,
            score_threshold=score_threshold,
            mask_threshold=mask_threshold,
            overlap_threshold=overlap_threshold,
            stuff_area_limit=stuff_area_limit,
        )


def _check_sizes(
    network_sizes: Sequence[tuple[int, int]],
    output_sizes: Sequence[tuple[int, int]],
    num_images: int,
    covered: Sequence[int],
) -> None:
    for name, sizes in (("network_sizes", network_sizes), ("output_sizes", output_sizes)):
        check_sequence(name, sizes)
        if len(sizes) != num_images:
            raise ValueError(f"{name}: expected one (height, width) per image ({num_images}), got {len(sizes)}")
    for size in network_sizes:
        check_size("network_sizes", size)
        if size[0] > covered[0] or size[1] > covered[1]:
            raise ValueError(f"network_sizes: expected 1 .. {list(covered)} (map size times stride), got {tuple(size)}")
    for size in output_sizes:
        check_image_size("output_sizes", size)
    if num_images > 0:
        check_elements("output_sizes", num_images, max(s[0] for s in output_sizes), max(s[1] for s in output_sizes))
