"""`decode_detections`: turns predictions at all locations into candidates for `nms` (section 3.4, numerics 1.10)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import (
    FLOATING,
    check_dims,
    check_flag,
    check_integer,
    check_levels,
    check_probability,
    check_same_device,
    check_shape,
    check_tensor,
)


class Candidates(NamedTuple):
    """Candidates for detections: K entries per image, of which the first `counts` are candidates.

    boxes [B, K, 4] float32 (x1, y1, x2, y2) in network pixels, not clipped; scores [B, K] float32; labels [B, K] int64;
    location_indices [B, K] int64 into the L locations of all levels; counts [B] int64. Unused entries have boxes and
    scores of 0, labels and locations of -1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    location_indices: Tensor
    counts: Tensor


def decode_detections(
    class_logits: Tensor,
    centerness_logits: Tensor,
    box_distances: Tensor,
    *,
    level_sizes: list[tuple[int, int]],
    strides: tuple[int, ...],
    score_threshold: float,
    top_k: int,
    threshold_with_centerness: bool = True,
    backend: str | None = None,
) -> Candidates:
    """Select the pairs of location and class that may become detections, with their boxes, for a whole batch.

    The score of a pair is ``sqrt(sigmoid(class) * sigmoid(centre-ness))``. A pair is a candidate if the product is
    above ``score_threshold ** 2`` and the score is above `score_threshold`, both in float32. Without
    `threshold_with_centerness`, a pair is a candidate if sigmoid(class) is above ``score_threshold ** 2``. A pair with
    NaN is not a candidate. Each level keeps the `top_k` best candidates; of equal scores the lower location comes
    first, then the lower class. The box at location (x, y) is
    ``(x - l * stride, y - t * stride, x + r * stride, y + b * stride)``.

    Does not wait for the device. Has no gradient.

    Args:
        class_logits: [B, L, C] floating, levels finest first, row-major within a level.
        centerness_logits: [B, L] floating.
        box_distances: [B, L, 4] floating (l, t, r, b) in strides.
        level_sizes: (height, width) of each level; L cells in total.
        strides: pixels per cell of each level; cell j is at ``j * stride + stride // 2``.
        score_threshold: in 0..1, for the score.
        top_k: candidates kept per level and image, at least 1.
        threshold_with_centerness: see above.
        backend: see `condinst.backends.registry`.

    Returns:
        `Candidates` with K = sum over levels of ``min(top_k, height * width * C)`` entries per image: the candidates
        first, by location and then by class, then unused entries with a label of -1.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes or numbers that do not fit.
    """
    check_tensor("class_logits", class_logits, FLOATING)
    check_dims("class_logits", class_logits, 3)
    batch_size, num_locations, _ = class_logits.shape
    check_tensor("centerness_logits", centerness_logits, FLOATING)
    check_shape("centerness_logits", centerness_logits, (batch_size, num_locations))
    check_tensor("box_distances", box_distances, FLOATING)
    check_shape("box_distances", box_distances, (batch_size, num_locations, 4))
    for name, value in (("centerness_logits", centerness_logits), ("box_distances", box_distances)):
        check_same_device(name, value, "class_logits", class_logits)
    if check_levels(level_sizes, strides) != num_locations:
        raise ValueError(f"level_sizes: expected {num_locations} cells (class_logits), got {level_sizes}")
    check_probability("score_threshold", score_threshold)
    check_integer("top_k", top_k, 1)
    check_flag("threshold_with_centerness", threshold_with_centerness)
    tensors = (class_logits, centerness_logits, box_distances)
    with torch.no_grad(), no_tangents():
        return select("decode_detections", backend, *tensors, level_sizes=level_sizes)(
            *tensors,
            level_sizes=level_sizes,
            strides=strides,
            score_threshold=score_threshold,
            top_k=top_k,
            threshold_with_centerness=threshold_with_centerness,
        )
