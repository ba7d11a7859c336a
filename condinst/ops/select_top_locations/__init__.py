"""`select_top_locations`: which positive locations feed the mask loss (section 3.3, numerics 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import (
    FLOATING,
    check_choice,
    check_dims,
    check_elements,
    check_index_range,
    check_integer,
    check_same_device,
    check_shape,
    check_tensor,
)


def select_top_locations(
    class_logits: Tensor,
    centerness_logits: Tensor,
    object_indices: Tensor,
    *,
    num_objects: int,
    rule: str = "top",
    max_locations: int = 64,
    backend: str | None = None,
) -> Tensor:
    """A choice among the positive locations of a batch, by one of three rules.

    - "top", the rule of the paper: each object that has positives keeps the ``max(max_locations // matched, 1)``
      positives with the highest ``max over classes of sigmoid(class) * sigmoid(centre-ness)``; of equal scores the
      lower location. `matched` is the number of objects of the image that have positives. If it is above
      `max_locations`, more than `max_locations` are chosen.
    - "random", the rule of AdelaiDet: `max_locations` of the whole batch, drawn from PyTorch's default generator.
    - "all".

    Does not wait for the device. Has no gradient.

    Args:
        class_logits: [B, L, C] floating, C at least 1.
        centerness_logits: [B, L] floating.
        object_indices: [B, L] int64, the object of each location, numbered over the batch, so that no two images share
            an index; -1 for background.
        num_objects: G, the number of objects of the batch; indices are below it.
        rule: "top", "random" or "all".
        max_locations: per image for "top", per batch for "random"; at least 1.
        backend: see `condinst.backends.registry`.

    Returns:
        [B, L] bool.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit, an unknown rule; on the CPU also an object index out of range (on a GPU it
            counts as background).
    """
    check_tensor("class_logits", class_logits, FLOATING)
    check_dims("class_logits", class_logits, 3)
    batch_size, num_locations, num_classes = class_logits.shape
    if num_classes == 0:
        raise ValueError("class_logits: expected at least one class, got none")
    check_tensor("centerness_logits", centerness_logits, FLOATING)
    check_tensor("object_indices", object_indices, (torch.int64,))
    for name, value in (("centerness_logits", centerness_logits), ("object_indices", object_indices)):
        check_shape(name, value, (batch_size, num_locations))
        check_same_device(name, value, "class_logits", class_logits)
    check_integer("num_objects", num_objects, 0)
    check_elements("num_objects", batch_size, num_objects)
    check_integer("max_locations", max_locations, 1)
    check_choice("rule", rule, ("top", "random", "all"))
    check_index_range("object_indices", object_indices, num_objects, least=-1)
    with torch.no_grad(), no_tangents():
        return select("select_top_locations", backend, class_logits, centerness_logits)(
            class_logits,
            centerness_logits,
            object_indices,
            num_objects=num_objects,
            rule=rule,
            max_locations=max_locations,
        )
