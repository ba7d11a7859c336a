"""Triton kernels as PyTorch operators, one file each; `library` says whether Triton can run here."""

from . import declined, dice_loss, dynamic_mask_head, dynamic_mask_loss, fcos_targets, mask_centers

__all__ = ["declined", "dice_loss", "dynamic_mask_head", "dynamic_mask_loss", "fcos_targets", "mask_centers"]
