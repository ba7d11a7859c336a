"""`matrix_nms` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.ops.common.suppression import groups
from condinst.ops.mask_nms.reference import mask_iou


def matrix_nms(
    masks: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    kernel: str = "gaussian",
    sigma: float = 2.0,
) -> Tensor:
    """The definition of `condinst.ops.matrix_nms`; arguments and result are described there."""
    scores = scores.float()  # [N]
    decayed = torch.zeros_like(scores)  # [N]
    for members in groups(scores, labels, image_indices):  # [n]
        iou = mask_iou(masks[members]).nan_to_num(0.0).triu(diagonal=1)  # [n, n] of better (row) and worse (column)
        highest = iou.amax(dim=0)[:, None]  # [n, 1] of each mask with a better one
        if kernel == "gaussian":
            decay = torch.exp(sigma * (highest**2 - iou**2))  # [n, n]
        else:
            # A duplicate gets a score of 0 and lowers no other score.
            decay = torch.where(highest < 1, (1 - iou) / (1 - highest), 1.0)  # [n, n]
        better = torch.ones_like(iou, dtype=torch.bool).triu(diagonal=1)
        factor = torch.where(better, decay, 1.0).amin(dim=0).clamp(max=1)  # [n]
        decayed[members] = scores[members] * factor
    return decayed
