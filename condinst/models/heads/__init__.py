"""The FCOS head with the controller, and the mask branch."""

from .fcos import FCOSHead, HeadOutputs
from .mask_branch import MaskBranch

__all__ = ["FCOSHead", "HeadOutputs", "MaskBranch"]
