"""`nms` in plain PyTorch and torchvision."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor


def nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
    *,
    iou_threshold: float,
    max_detections: int = 0,
) -> Tensor:
    """The definition of `condinst.ops.nms`; arguments and result are described there."""
    kept = torch.zeros_like(scores, dtype=torch.bool)  # [N]
    groups = torch.stack([image_indices, labels], dim=1).unique(dim=0)  # [groups, 2]
    for image, label in groups.tolist():
        members = torch.nonzero((image_indices == image) & (labels == label)).squeeze(1)  # [n]
        kept[members[torchvision.ops.nms(boxes[members], scores[members], iou_threshold)]] = True

    keep = torch.nonzero(kept).squeeze(1)  # [M]
    keep = keep[scores[keep].argsort(descending=True, stable=True)]  # [M] by score
    per_image = []
    for image in image_indices.unique().tolist():
        best = keep[image_indices[keep] == image]  # [m]
        if best.shape[0] > max_detections > 0:
            # as AdelaiDet: everything that scores at least as well as the last one admitted
            best = best[scores[best] >= scores[best[max_detections - 1]]]
        per_image.append(best)
    return torch.cat(per_image) if per_image else keep  # [M]
