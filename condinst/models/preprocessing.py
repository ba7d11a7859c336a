"""Converts the images and targets of a call to the batch that is the input of the network (numerics 1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import ops
from ..data.rles import mass_centers, sample_masks
from ..messages import shorten
from .config import CondInstConfig


@dataclass
class Targets:
    """The objects of a padded batch of H x W network pixels; G objects over all images.

    Args:
        boxes: [G, 4] (x1, y1, x2, y2).
        labels: [G].
        image_indices: [G] the image of each object.
        centers: [G, 2] mass centres (x, y) px of the full masks; NaN for an empty mask.
        masks: [G, H / s, W / s] bool: the pixels of the masks at ``s // 2 + i * s``, s being `mask_output_stride`.
        semantic_masks: [G, H / s, W / s] the same at `mask_feature_stride`; None without `semantic_loss`.
        areas: [G] int64 px of the full masks; None without `semantic_loss`.
        semantic_labels: [B, H / s, W / s] int64 panoptic labels of the same pixels at the stride of the semantic branch
            of a `panoptic` model, -1 for pixels without a label; None if the model is not panoptic.
    """

    boxes: Tensor
    labels: Tensor
    image_indices: Tensor
    centers: Tensor
    masks: Tensor
    semantic_masks: Tensor | None
    areas: Tensor | None
    semantic_labels: Tensor | None


@dataclass
class ImageBatch:
    """A batch of network inputs, and the sizes of its images.

    Args:
        pixels: [B, 3, H, W] normalised images, padded on the right and bottom.
        network_sizes: (height, width) of each image without the padding.
        output_sizes: (height, width) of the results of each image.
        network_extents: [B, 4] float32 (width, height, width, height) from `network_sizes`, on the device of `pixels`.
        output_extents: [B, 4] float32, the same from `output_sizes`.
        targets: the objects, in training.
    """

    pixels: Tensor
    network_sizes: list[tuple[int, int]]
    output_sizes: list[tuple[int, int]]
    network_extents: Tensor
    output_extents: Tensor
    targets: Targets | None = None


def make_extents(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """The largest box (width, height, width, height) in each (height, width): [B, 4] float32."""
    extents = [(width, height, width, height) for height, width in sizes]
    return torch.tensor(extents, dtype=torch.float32, device=device).reshape(-1, 4)


def check_images(images: Sequence[Tensor]) -> None:
    """Raise unless `images` is a list of [3, H, W] RGB tensors, uint8 or floating in 0..1 without NaN."""
    if isinstance(images, Tensor) or not isinstance(images, Sequence):
        raise TypeError(f"images: expected a list of [3, H, W] tensors, got {type(images).__name__}")
    for index, image in enumerate(images):
        name = f"images[{index}]"
        if not isinstance(image, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(image).__name__}")
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(f"{name}: expected shape [3, H, W] with H, W of at least 1, got {list(image.shape)}")
        if image.is_floating_point():
            least, most = torch.stack(image.aminmax()).tolist()
            if not (least >= 0 and most <= 1):
                raise ValueError(
                    f"{name}: expected floats in 0..1, got values in {least}..{most}"
                    + (" (it contains NaN)" if least != least else "; 0..255 pixels are given as uint8")
                )
        elif image.dtype != torch.uint8:
            raise TypeError(f"{name}: expected dtype uint8 or floating point, got {image.dtype}")


def check_targets(targets: Sequence[Mapping[str, Any]], images: Sequence[Tensor], config: CondInstConfig) -> None:
    """Raise unless there is one dict per image with `boxes` [G, 4], `labels` [G] and masks that fit it.

    Masks are `masks` [G, H, W], or `rles`, a list of G COCO run lengths of the size of the image. A `panoptic` config
    also requires `semantic` [H, W].
    """
    num_classes = config.num_classes
    if len(targets) != len(images):
        raise ValueError(f"targets: expected one dict per image ({len(images)}), got {len(targets)}")
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        if not isinstance(target, Mapping):
            raise TypeError(f"targets[{index}]: expected a dict, got {type(target).__name__}")
        for key in ("boxes", "labels") if "rles" in target else ("boxes", "labels", "masks"):
            if not isinstance(target.get(key), Tensor):
                raise ValueError(f"targets[{index}]: expected a tensor under {key!r}, got keys {sorted(target)}")
        boxes, labels = target["boxes"], target["labels"]
        size = tuple(image.shape[1:])
        expected = {"boxes": (boxes, (len(boxes), 4)), "labels": (labels, (len(boxes),))}
        if "rles" in target:
            _check_rles(f"targets[{index}]['rles']", target["rles"], len(boxes), size)
        else:
            expected["masks"] = (target["masks"], (len(boxes), *size))
        for key, (value, shape) in expected.items():
            if value.shape != shape:
                raise ValueError(f"targets[{index}][{key!r}]: expected shape {list(shape)}, got {list(value.shape)}")
        if not boxes.is_floating_point():
            raise TypeError(f"targets[{index}]['boxes']: expected floating point, got {boxes.dtype}")
        if labels.dtype != torch.int64:
            raise TypeError(f"targets[{index}]['labels']: expected int64, got {labels.dtype}")
        if "masks" in expected and target["masks"].dtype not in (torch.bool, torch.uint8):
            raise TypeError(f"targets[{index}]['masks']: expected bool or uint8, got {target['masks'].dtype}")
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"targets[{index}]['labels']: expected 0 .. {num_classes - 1},"
                f" got {int(labels.min())} .. {int(labels.max())}"
            )
        if not boxes.isfinite().all():
            raise ValueError(f"targets[{index}]['boxes']: expected finite numbers, got NaN or infinity")
        if config.panoptic:
            num_labels = num_classes + config.num_stuff_classes
            _check_semantic(f"targets[{index}]['semantic']", target.get("semantic"), num_labels, size)


def _check_semantic(name: str, semantic: Any, num_labels: int, size: tuple[int, ...]) -> None:
    if not isinstance(semantic, Tensor):
        raise ValueError(f"{name}: expected the panoptic label of each pixel, got {type(semantic).__name__}")
    if semantic.is_floating_point() or semantic.dtype == torch.bool:
        raise TypeError(f"{name}: expected integers, got {semantic.dtype}")
    if semantic.shape != size:
        raise ValueError(f"{name}: expected shape {list(size)}, that of the image, got {list(semantic.shape)}")
    least, most = (int(bound) for bound in semantic.aminmax())
    if least < -1 or most >= num_labels:
        raise ValueError(f"{name}: expected -1 .. {num_labels - 1}, got {least} .. {most}")


def _check_rles(name: str, rles: Any, count: int, size: tuple[int, ...]) -> None:
    if not isinstance(rles, Sequence) or len(rles) != count:
        raise ValueError(f"{name}: expected a list of {count} run lengths, one per box, got {shorten(rles)}")
    for rle in rles:
        if not isinstance(rle, Mapping) or not isinstance(rle.get("size"), Sequence):
            raise TypeError(f"{name}: expected dicts of size and counts, got {shorten(rle)}")
        if tuple(rle["size"]) != size:
            raise ValueError(f"{name}: expected masks of the image's size {list(size)}, got {shorten(rle['size'])}")


def make_batch(images: Sequence[Tensor], config: CondInstConfig, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise images [3, H_i, W_i] and pad them on the right and bottom to one batch.

    Args:
        images: RGB, uint8 or float in 0..1.
        config: defines the channel order and the divisibility of the padded size.
        mean: [3, 1, 1] in 0..255, in the channel order of the network, on the device of the result.
        std: [3, 1, 1] likewise.

    Returns:
        [B, 3, H, W] float32; the padding is 0, the mean colour.
    """
    divisor = config.size_divisibility
    height = -(-max(image.shape[1] for image in images) // divisor) * divisor
    width = -(-max(image.shape[2] for image in images) // divisor) * divisor
    batch = mean.new_zeros(len(images), 3, height, width)
    for row, image in zip(batch, images, strict=True):
        pixels = image.to(mean.device).to(mean.dtype)
        if image.is_floating_point():
            pixels = pixels * 255
        if config.pixel_order == "bgr":
            pixels = pixels.flip(0)
        row[:, : image.shape[1], : image.shape[2]] = (pixels - mean) / std
    return batch


def resize_target(target: Mapping[str, Any], old: tuple[int, int], new: tuple[int, int]) -> dict[str, Tensor]:
    """Resizes the boxes and masks of an image from size `old` (height, width) to `new`."""
    scale = target["boxes"].new_tensor([new[1] / old[1], new[0] / old[0]]).repeat(2)
    masks = target["masks"]
    if old != new:
        masks = F.interpolate(masks[:, None].to(torch.uint8), size=new, mode="nearest-exact")[:, 0]
    resized = {"boxes": target["boxes"] * scale, "labels": target["labels"], "masks": masks}
    if "semantic" in target:
        labels = target["semantic"][None, None].double()  # interpolate has no nearest neighbours of integers
        resized["semantic"] = F.interpolate(labels, size=new, mode="nearest-exact")[0, 0].to(target["semantic"].dtype)
    return resized


def join_targets(
    targets: Sequence[Mapping[str, Any]], size: tuple[int, int], config: CondInstConfig, device: torch.device
) -> Targets:
    """Joins the objects of all images, and computes the mask targets that the losses need.

    Args:
        targets: targets that `check_targets` accepts.
        size: (height, width) of the padded batch.
        config: defines the strides.
        device: device of the result.
    """
    semantic = config.semantic_loss
    strides = [config.mask_output_stride] + [config.mask_feature_stride] * semantic
    parts = [
        _sample_rles(target["rles"], strides, size)
        if "rles" in target
        else _sample_masks(target["masks"], strides, size, device)
        for target in targets
    ]
    counts = torch.tensor([len(target["labels"]) for target in targets])
    return Targets(
        boxes=torch.cat([target["boxes"].to(device, torch.float32) for target in targets]),
        labels=torch.cat([target["labels"].to(device) for target in targets]),
        image_indices=torch.arange(len(targets)).repeat_interleave(counts).to(device),
        centers=torch.cat([centers.to(device) for centers, _, _ in parts]),
        masks=torch.cat([sampled[0].to(device) for _, sampled, _ in parts]),
        semantic_masks=torch.cat([sampled[1].to(device) for _, sampled, _ in parts]) if semantic else None,
        areas=torch.cat([areas.to(device) for _, _, areas in parts]) if semantic else None,
        semantic_labels=_semantic_labels(targets, config.panoptic_stride, size).to(device) if config.panoptic else None,
    )


def _semantic_labels(targets: Sequence[Mapping[str, Any]], stride: int, size: tuple[int, int]) -> Tensor:
    """The labels of all images at a stride; -1 in the padding."""
    labels = torch.full((len(targets), size[0] // stride, size[1] // stride), -1)
    for image_labels, target in zip(labels, targets, strict=True):
        sampled = target["semantic"][stride // 2 :: stride, stride // 2 :: stride]
        image_labels[: sampled.shape[0], : sampled.shape[1]] = sampled
    return labels


def _sample_rles(
    rles: Sequence[dict[str, Any]], strides: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, list[Tensor], Tensor]:
    centers, areas = mass_centers(rles)
    return centers, [sample_masks(rles, stride, size) for stride in strides], areas


def _sample_masks(
    masks: Tensor, strides: Sequence[int], size: tuple[int, int], device: torch.device
) -> tuple[Tensor, list[Tensor], Tensor]:
    masks = masks.to(device, torch.bool)
    sampled = []
    for stride in strides:
        part = masks[:, stride // 2 :: stride, stride // 2 :: stride]
        padding = (0, size[1] // stride - part.shape[2], 0, size[0] // stride - part.shape[1])
        sampled.append(F.pad(part, padding))
    # one mask at a time, because the sum of bools first converts them all to integers
    areas = [mask.sum() for mask in masks]
    return ops.mask_centers(masks), sampled, torch.stack(areas) if areas else torch.zeros(0, dtype=torch.int64)
