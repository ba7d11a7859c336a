"""The operator library (C++ and CUDA) as PyTorch operators, one file each; `library` loads the shared object."""

from . import dice_loss, dynamic_mask_head, dynamic_mask_loss, fcos_targets, mask_centers, select_top_locations

__all__ = [
    "dice_loss",
    "dynamic_mask_head",
    "dynamic_mask_loss",
    "fcos_targets",
    "mask_centers",
    "select_top_locations",
]
