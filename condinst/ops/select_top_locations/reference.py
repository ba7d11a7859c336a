"""`select_top_locations` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def select_top_locations(
    class_logits: Tensor,
    centerness_logits: Tensor,
    object_indices: Tensor,
    *,
    num_objects: int,
    rule: str = "top",
    max_locations: int = 64,
) -> Tensor:
    """The definition of `condinst.ops.select_top_locations`; arguments and result are described there."""
    if rule != "top":
        return other_locations(object_indices, rule, max_locations)
    image, location = torch.nonzero(object_indices >= 0, as_tuple=True)  # [M], [M]
    objects = object_indices[image, location]  # [M]
    # The sigmoid is monotone, so the class with the highest logit has the highest probability.
    best_class = class_logits[image, location].float().amax(dim=1).sigmoid()  # [M]
    scores = best_class * centerness_logits[image, location].float().sigmoid()  # [M]

    order = scores.argsort(descending=True, stable=True)  # [M]
    order = order[objects[order].argsort(stable=True)]  # [M] by object, then by falling score
    _, group, counts = objects[order].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(order.shape[0], device=order.device) - (counts.cumsum(0) - counts)[group]  # [M]
    matched = image[order][rank == 0].bincount(minlength=object_indices.shape[0])  # [B] objects
    quota = (max_locations // matched.clamp(min=1)).clamp(min=1)  # [B]
    chosen = order[rank < quota[image[order]]]
    selected = torch.zeros_like(object_indices, dtype=torch.bool)  # [B, L]
    selected[image[chosen], location[chosen]] = True
    return selected


def other_locations(object_indices: Tensor, rule: str, max_locations: int) -> Tensor:
    """The rules "all" and "random", which need no scores. Does not wait for the device."""
    positive = object_indices >= 0  # [B, L]
    if rule == "all":
        return positive
    keys = torch.rand(object_indices.shape, device=object_indices.device).masked_fill(~positive, -1.0)  # [B, L]
    chosen = keys.flatten().topk(min(max_locations, keys.numel())).indices  # [max_locations]
    return torch.zeros_like(positive).flatten().scatter(0, chosen, True).view_as(positive) & positive  # [B, L]
