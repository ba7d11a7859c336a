"""Triton kernels as PyTorch operators, one file each; `library` says whether Triton can run here."""

from . import dice_loss, dynamic_mask_head, dynamic_mask_loss

__all__ = ["dice_loss", "dynamic_mask_head", "dynamic_mask_loss"]
