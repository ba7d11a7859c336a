"""Specifications of the operators, used by the tests and by the benchmarks.

To add one, write ``testing/<op>.py`` with a ``SPEC`` and add it to `SPECS`.
"""

from . import dice_loss, dynamic_mask_head, dynamic_mask_loss, fcos_targets, mask_centers, select_top_locations
from .compare import Results, check, check_sample, check_tensor, in_float64, run
from .spec import BadInput, OpSpec, Sample, Tolerance

SPECS: tuple[OpSpec, ...] = (
    dice_loss.SPEC,
    dynamic_mask_head.SPEC,
    dynamic_mask_loss.SPEC,
    fcos_targets.SPEC,
    mask_centers.SPEC,
    select_top_locations.SPEC,
)

__all__ = [
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
