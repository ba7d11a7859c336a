"""`select_top_locations` as a PyTorch operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from condinst.backends.torch_library import register_operator
from condinst.ops.select_top_locations.reference import other_locations

NOT_IN_TRITON = "it selects from lists whose lengths depend on values, and Triton cannot sort more than a block"


def register(namespace: str) -> Callable[..., Tensor]:
    """Register the fake kernel in a namespace; returns a function with the signature of the reference.

    The kernels implement only the rule "top".
    """
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

    register_operator(namespace, "select_top_locations", fake=_fake)
    return select_top_locations


def _fake(
    class_logits: Tensor, centerness_logits: Tensor, object_indices: Tensor, num_objects: int, max_locations: int
) -> Tensor:
    return object_indices.new_empty(object_indices.shape, dtype=torch.bool)
