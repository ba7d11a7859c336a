"""`matrix_nms` by Triton kernels; the sort is done by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.launch import kernels, launch
from condinst.backends.triton import define

PASS_COLUMNS = 1024
"""The number of masks whose IoU with all better masks is in memory at a time."""

ROWS = 16
"""The number of better masks that a program counts at a time, in blocks of WORDS words."""

WORDS = 128


def _sorted_groups(scores: Tensor, labels: Tensor, image_indices: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates [N] by image, label, falling score and index, and the position [N] where the group of each begins."""
    order = scores.argsort(descending=True, stable=True)  # [N]
    order = order[labels[order].argsort(stable=True)]  # [N]
    order = order[image_indices[order].argsort(stable=True)]  # [N]
    pairs = torch.stack([image_indices[order], labels[order]])  # [2, N]
    is_first = (pairs != pairs.roll(1, dims=1)).any(dim=0)  # [N]
    places = torch.arange(order.shape[0], device=order.device)  # [N]
    starts = torch.where(is_first, places, 0).cummax(dim=0).values  # [N]
    return order, starts


def _forward(masks: Tensor, scores: Tensor, labels: Tensor, image_indices: Tensor, kernel: str, sigma: float) -> Tensor:
    masks, scores = masks.contiguous(), scores.float()
    count, mask_words = masks.shape
    decayed = torch.zeros_like(scores)
    if count == 0:
        return decayed
    valid = (image_indices >= 0) & ~scores.isnan()  # [N]
    order, starts = _sorted_groups(scores, labels, image_indices.where(valid, -1))
    triton = kernels("matrix_nms")
    areas = torch.empty_like(order)
    launch(triton.matrix_nms_areas, count, masks, areas, mask_words, WORDS=WORDS)
    columns = min(count, PASS_COLUMNS)
    ious = scores.new_empty(columns, count)
    highest, factors = torch.empty_like(scores), torch.empty_like(scores)
    for first in range(0, count, columns):
        number = min(columns, count - first)
        launch(
            triton.matrix_nms_columns,
            number,
            *(masks, areas, order, starts, ious, highest, first, count, mask_words),
            ROWS=ROWS,
            WORDS=WORDS,
        )
        launch(
            triton.matrix_nms_factors,
            number,
            *(ious, highest, starts, factors, first, count, float(sigma)),
            GAUSSIAN=kernel == "gaussian",
            ROWS=1024,
        )
    decayed[order] = factors
    return torch.where(valid, scores * decayed, 0.0)


define(
    "matrix_nms(Tensor masks, Tensor scores, Tensor labels, Tensor image_indices, str kernel, float sigma) -> Tensor",
    _forward,
)
