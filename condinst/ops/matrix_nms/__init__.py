"""`matrix_nms`: soft suppression on binary masks in one step (SOLOv2, Wang et al., 2020, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import check_candidates, check_choice, check_positive
from condinst.ops.common.packed_masks import as_packed


def matrix_nms(
    masks: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    kernel: str = "gaussian",
    sigma: float = 2.0,
    backend: str | None = None,
) -> Tensor:
    """Lower the score of each mask by the better masks of the same class and image.

    The masks of a class and an image are sorted by falling score (of equal scores the lower index first). With the IoU
    of masks i and j, the new score is::

        score_j * min over i < j of f(iou_ij) / f(max over k < i of iou_ki), at most score_j
        f(iou) = exp(-sigma * iou ** 2) ("gaussian") or 1 - iou ("linear")

    A quotient whose divisor is 0 counts as 1, so an exact duplicate lowers no other score. Empty masks have an IoU of
    0. Does not wait for the device. Has no gradient.

    Args:
        masks: [N, H, W] bool, or [N, W] int64 from `pack_masks`.
        scores: [N] floating, at least 0.
        labels: [N] int64, any numbers.
        image_indices: [N] int64, the image of each mask; negative for padding.
        kernel: "gaussian" or "linear".
        sigma: sigma of the Gaussian.
        backend: see `condinst.backends.registry`.

    Returns:
        [N] float32; 0 for padding and for scores of NaN.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit, an unknown kernel, a sigma that is not positive.
    """
    packed = as_packed(masks, backend)
    check_candidates("masks", packed, scores, labels, image_indices)
    check_choice("kernel", kernel, ("gaussian", "linear"))
    check_positive("sigma", sigma)
    with torch.no_grad(), no_tangents():
        return select("matrix_nms", backend, packed, scores)(
            packed, scores, labels, image_indices, kernel=kernel, sigma=sigma
        )
