"""Every operator in plain PyTorch: the definition of correct.

To add an operator, write ``reference/<op>.py`` with a function ``<op>`` and add it to both lists below.
"""

from .aligned_bilinear import aligned_bilinear
from .dice_loss import dice_loss
from .dynamic_mask_head import dynamic_mask_head
from .dynamic_mask_loss import dynamic_mask_loss
from .fcos_targets import fcos_targets
from .giou_loss import giou_loss
from .mask_centers import mask_centers
from .masks_to_image import masks_to_image
from .nms import nms
from .sigmoid_focal_loss import sigmoid_focal_loss

__all__ = [
    "aligned_bilinear",
    "dice_loss",
    "dynamic_mask_head",
    "dynamic_mask_loss",
    "fcos_targets",
    "giou_loss",
    "mask_centers",
    "masks_to_image",
    "nms",
    "sigmoid_focal_loss",
]
