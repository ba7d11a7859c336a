"""`select_top_locations` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.reference.select_top_locations import other_locations

from .registration import register_rules


def adapt(namespace: str) -> Callable[..., Tensor]:
    """Register the rules; returns a function with the signature of the reference. The operator is the rule "top"."""
    ops = getattr(torch.ops, namespace)

    def select_top_locations(
        class_logits: Tensor,
        centerness_logits: Tensor,
        object_indices: Tensor,
        *,
        num_objects: int,
        rule: str = "top",
        max_locations: int = 64,
    ) -> Tensor:
        if rule != "top":
            return other_locations(object_indices, rule, max_locations)
        return ops.select_top_locations(
            class_logits, centerness_logits.float(), object_indices, num_objects, max_locations
        )

    register_rules(namespace, "select_top_locations", fake=_fake)
    return select_top_locations


def _fake(
    class_logits: Tensor, centerness_logits: Tensor, object_indices: Tensor, num_objects: int, max_locations: int
) -> Tensor:
    return object_indices.new_empty(object_indices.shape, dtype=torch.bool)
