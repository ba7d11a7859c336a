"""The operators: stateless functions that check their arguments and call one backend. One file per operator.

Each function documents its ValueError and TypeError; the message names the argument. Sides of maps and images, and
strides, are at most 2^30, and a result has at most 2^48 elements. If memory runs out, a call raises PyTorch's
RuntimeError or a MemoryError, and later calls are not affected.
"""

from .aligned_bilinear import aligned_bilinear
from .centerness_loss import centerness_loss
from .decode_detections import decode_detections
from .dice_loss import dice_loss
from .dynamic_mask_head import dynamic_mask_head
from .dynamic_mask_loss import dynamic_mask_loss
from .fcos_targets import fcos_targets
from .giou_loss import giou_loss
from .mask_centers import mask_centers
from .mask_nms import mask_nms
from .masks_to_image import masks_to_image
from .masks_to_rle import masks_to_rle
from .matrix_nms import matrix_nms
from .nms import nms
from .pack_masks import pack_masks
from .panoptic_merge import panoptic_merge
from .select_top_locations import select_top_locations
from .sigmoid_focal_loss import sigmoid_focal_loss

__all__ = [
    "aligned_bilinear",
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
