"""`fcos_targets` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.geometry import pixel_locations

from . import FCOSTargets


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
    """The definition of `condinst.ops.fcos_targets`; arguments and result are described there."""
    boxes = boxes.float()  # [G, 4]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 if centers is None else centers.float()  # [G, 2]
    locations = [
        pixel_locations(height, width, stride, boxes.device)
        for (height, width), stride in zip(level_sizes, strides, strict=True)
    ]
    counts = [location.shape[0] for location in locations]
    points = torch.cat(locations)  # [L, 2]
    bounds = (-1.0, *map(float, sizes_of_interest), 1e8)

    def per_location(values: tuple[float, ...]) -> Tensor:  # one value per level to [L]
        repeats = torch.tensor(counts, device=boxes.device)
        return torch.tensor(values, dtype=boxes.dtype, device=boxes.device).repeat_interleave(repeats)

    lowest, highest = per_location(bounds[:-1]), per_location(bounds[1:])  # [L]
    stride = per_location(strides)  # [L]

    shape = (num_images, points.shape[0])
    targets = FCOSTargets(  # all background
        labels.new_full(shape, num_classes),
        boxes.new_zeros(*shape, 4),
        boxes.new_zeros(shape),
        labels.new_full(shape, -1),
    )
    for image in image_indices.unique().tolist():
        if 0 <= image < num_images:
            members = torch.nonzero(image_indices == image).squeeze(1)  # [g]
            image_targets = _targets_of_image(
                boxes, labels, centers, members, points, stride, lowest, highest, radius, num_classes
            )
            for result, part in zip(targets, image_targets, strict=True):
                result[image] = part
    return targets


def _targets_of_image(
    boxes: Tensor,
    labels: Tensor,
    centers: Tensor,
    members: Tensor,
    points: Tensor,
    stride: Tensor,
    lowest: Tensor,
    highest: Tensor,
    radius: float,
    num_classes: int,
) -> FCOSTargets:
    num_points = points.shape[0]
    box, center = boxes[members], centers[members]  # [g, 4], [g, 2]
    reach = (radius * stride)[:, None, None]  # [L, 1, 1]
    window_min = torch.maximum(center - reach, box[:, :2])  # [L, g, 2]
    window_max = torch.minimum(center + reach, box[:, 2:])  # [L, g, 2]
    point = points[:, None]  # [L, 1, 2]
    # an empty mask has a centre of NaN, for which every comparison is false
    inside = ((point - window_min > 0) & (window_max - point > 0)).all(dim=2)  # [L, g]

    distances = torch.cat([point - box[:, :2], box[:, 2:] - point], dim=2)  # [L, g, 4]
    longest = distances.amax(dim=2)  # [L, g]
    fits_level = (longest >= lowest[:, None]) & (longest <= highest[:, None])  # [L, g]

    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])  # [g]
    candidate = torch.where(inside & fits_level, area, torch.inf)  # [L, g]
    smallest, index = candidate.min(dim=1)  # [L], [L]
    positive = smallest < torch.inf  # [L]

    chosen = distances[torch.arange(num_points, device=boxes.device), index]  # [L, 4]
    chosen = torch.where(positive[:, None], chosen / stride[:, None], 0.0)  # [L, 4]
    left, top, right, bottom = chosen.unbind(1)  # [L] each
    ratios = (torch.minimum(left, right) / torch.maximum(left, right)) * (
        torch.minimum(top, bottom) / torch.maximum(top, bottom)
    )  # [L]
    # Through float64, because PyTorch's square root in float32 is not always correctly rounded on CPUs.
    centerness = ratios.clamp(min=0).double().sqrt().float()  # [L]
    return FCOSTargets(
        torch.where(positive, labels[members][index], num_classes),
        chosen,
        torch.where(positive, centerness, 0.0),
        torch.where(positive, members[index], -1),
    )
