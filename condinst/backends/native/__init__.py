"""The operator library (C++ and CUDA) as PyTorch operators, one file each; `library` loads the shared object."""

from . import (
    centerness_loss,
    decode_detections,
    dice_loss,
    dynamic_mask_head,
    dynamic_mask_loss,
    fcos_targets,
    giou_loss,
    mask_centers,
    mask_nms,
    masks_to_image,
    masks_to_rle,
    matrix_nms,
    nms,
    pack_masks,
    select_top_locations,
    sigmoid_focal_loss,
)

__all__ = [
    "centerness_loss",
    "decode_detections",
    "dice_loss",
    "dynamic_mask_head",
    "dynamic_mask_loss",
    "fcos_targets",
    "giou_loss",
    "mask_centers",
    "mask_nms",
    "masks_to_image",
    "masks_to_rle",
    "matrix_nms",
    "nms",
    "pack_masks",
    "select_top_locations",
    "sigmoid_focal_loss",
]
