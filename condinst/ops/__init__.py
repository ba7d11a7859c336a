"""The operators: stateless functions that check their arguments and call one backend. One folder per operator.

Each function documents its ValueError and TypeError; the message names the argument. Sides of maps and images, and
strides, are at most 2^30, and a result has at most 2^48 elements. If memory runs out, a call raises PyTorch's
RuntimeError or a MemoryError, and later calls are not affected.
"""

from .aligned_bilinear import aligned_bilinear as aligned_bilinear
from .centerness_loss import centerness_loss as centerness_loss
from .common.suppression import KeptDetections as KeptDetections
from .decode_detections import Candidates as Candidates
from .decode_detections import decode_detections as decode_detections
from .dice_loss import dice_loss as dice_loss
from .dynamic_mask_head import dynamic_mask_head as dynamic_mask_head
from .dynamic_mask_loss import dynamic_mask_loss as dynamic_mask_loss
from .fcos_targets import FCOSTargets as FCOSTargets
from .fcos_targets import fcos_targets as fcos_targets
from .giou_loss import giou_loss as giou_loss
from .mask_centers import mask_centers as mask_centers
from .mask_nms import mask_nms as mask_nms
from .masks_to_image import masks_to_image as masks_to_image
from .masks_to_rle import EncodedMasks as EncodedMasks
from .masks_to_rle import masks_to_rle as masks_to_rle
from .matrix_nms import matrix_nms as matrix_nms
from .nms import nms as nms
from .pack_masks import pack_masks as pack_masks
from .panoptic_merge import PanopticMaps as PanopticMaps
from .panoptic_merge import panoptic_merge as panoptic_merge
from .registration import register_operators
from .resize_image import resize_image as resize_image
from .select_top_locations import select_top_locations as select_top_locations
from .sigmoid_focal_loss import sigmoid_focal_loss as sigmoid_focal_loss

OPERATORS = (
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
    "resize_image",
    "select_top_locations",
    "sigmoid_focal_loss",
)
"""All operators. Each is a folder of this package and one of the imports above; tests/test_layout.py compares them."""

register_operators(OPERATORS)
