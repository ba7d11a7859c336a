"""What PyTorch must know of operators that kernels compute: shapes, gradients, autocast; the same for all kernels.

``rules.<op>.adapt(namespace)`` is for ``torch.ops.<namespace>.<op>`` and ``<op>_backward``, which have the same schemas
in every namespace: "condinst" (C++ and CUDA, in csrc/) and "condinst_triton".
"""

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
    panoptic_merge,
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
    "panoptic_merge",
    "select_top_locations",
    "sigmoid_focal_loss",
]
