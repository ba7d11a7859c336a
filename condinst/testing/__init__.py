"""Specifications of the operators, used by the tests and by the benchmarks.

To add one, write ``testing/<op>.py`` with a ``SPEC`` and add it to `SPECS`. If its results are not tensors,
add it to `ALL_SPECS` alone.
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
from .compare import Results, check, check_sample, check_tensor, in_float64, run
from .spec import BadInput, OpSpec, Sample, Tolerance

SPECS: tuple[OpSpec, ...] = (
    centerness_loss.SPEC,
    decode_detections.SPEC,
    dice_loss.SPEC,
    dynamic_mask_head.SPEC,
    dynamic_mask_loss.SPEC,
    fcos_targets.SPEC,
    giou_loss.SPEC,
    mask_centers.SPEC,
    mask_nms.SPEC,
    masks_to_image.SPEC,
    matrix_nms.SPEC,
    nms.SPEC,
    pack_masks.SPEC,
    panoptic_merge.SPEC,
    select_top_locations.SPEC,
    sigmoid_focal_loss.SPEC,
)
"""The operators whose results are tensors, which `check_sample` compares."""

ALL_SPECS: tuple[OpSpec, ...] = (*SPECS, masks_to_rle.SPEC)
"""Every operator."""

__all__ = [
    "ALL_SPECS",
    "SPECS",
    "BadInput",
    "OpSpec",
    "Results",
    "Sample",
    "Tolerance",
    "check",
    "check_sample",
    "check_tensor",
    "in_float64",
    "run",
]
