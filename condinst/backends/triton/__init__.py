"""Triton kernels as PyTorch operators, one file each; `library` says whether Triton can run here."""

from . import (
    centerness_loss,
    declined,
    dice_loss,
    dynamic_mask_head,
    dynamic_mask_loss,
    fcos_targets,
    giou_loss,
    mask_centers,
    matrix_nms,
    pack_masks,
    sigmoid_focal_loss,
)

__all__ = [
    "centerness_loss",
    "declined",
    "dice_loss",
    "dynamic_mask_head",
    "dynamic_mask_loss",
    "fcos_targets",
    "giou_loss",
    "mask_centers",
    "matrix_nms",
    "pack_masks",
    "sigmoid_focal_loss",
]
