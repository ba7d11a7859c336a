"""The FCOS head with the controller, the mask branch, and the semantic branch of panoptic models."""

from .fcos import FCOSHead, HeadOutputs
from .mask_branch import MaskBranch
from .semantic_branch import SemanticBranch

__all__ = ["FCOSHead", "HeadOutputs", "MaskBranch", "SemanticBranch"]
