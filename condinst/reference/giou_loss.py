"""`giou_loss` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def giou_loss(
    predicted: Tensor, targets: Tensor, weights: Tensor | None = None, *, smooth: bool = True, reduction: str = "sum"
) -> Tensor:
    """The definition of `condinst.ops.giou_loss`; arguments and result are described there."""
    iou, union, hull = distances_iou(predicted, targets, smooth=smooth)  # [N] each
    loss = 1 - (iou - (hull - union) / hull)  # [N]
    if weights is not None:
        loss = loss * weights
    return loss if reduction == "none" else loss.sum()  # [N] or []


def distances_iou(predicted: Tensor, targets: Tensor, *, smooth: bool) -> tuple[Tensor, Tensor, Tensor]:
    """IoU, union and hull area [N] of boxes given as distances (l, t, r, b) from one common point."""
    p_left, p_top, p_right, p_bottom = predicted.unbind(-1)  # [N] each
    t_left, t_top, t_right, t_bottom = targets.unbind(-1)  # [N] each
    width = torch.minimum(p_left, t_left) + torch.minimum(p_right, t_right)  # [N]
    height = torch.minimum(p_top, t_top) + torch.minimum(p_bottom, t_bottom)  # [N]
    hull_width = torch.maximum(p_left, t_left) + torch.maximum(p_right, t_right)  # [N]
    hull_height = torch.maximum(p_top, t_top) + torch.maximum(p_bottom, t_bottom)  # [N]
    intersection = width * height  # [N]
    p_area = (p_left + p_right) * (p_top + p_bottom)  # [N]
    t_area = (t_left + t_right) * (t_top + t_bottom)  # [N]
    union = p_area + t_area - intersection  # [N]
    iou = (intersection + 1) / (union + 1) if smooth else intersection / union  # [N]
    return iou, union, hull_width * hull_height
