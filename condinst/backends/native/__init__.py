"""The operator library (C++ and CUDA) as PyTorch operators, one file each; `library` loads the shared object."""

from . import dice_loss

__all__ = ["dice_loss"]
