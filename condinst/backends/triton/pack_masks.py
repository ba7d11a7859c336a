"""`pack_masks` by a Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.rules import pack_masks as rules

from .dice_loss import as_bytes
from .launch import kernels, launch
from .library import define, register_triton

BLOCK = 32
"""Words that a program makes."""


def _forward(masks: Tensor, threshold: float) -> Tensor:
    if masks.is_floating_point():  # PyTorch compares with the threshold in the dtype of the masks
        threshold = torch.tensor(threshold, dtype=torch.float64, device="cpu").to(masks.dtype).item()
    masks = as_bytes(masks)
    num_masks, height, width = masks.shape
    size = height * width
    mask_words = -(-size // 64)
    words = masks.new_empty(num_masks, mask_words, dtype=torch.int64)
    blocks = -(-mask_words // BLOCK)
    kernel = kernels("pack_masks").pack_masks_words
    launch(kernel, num_masks * blocks, masks, words, threshold, size, mask_words, blocks, BLOCK=BLOCK)
    return words


define("pack_masks(Tensor masks, float threshold) -> Tensor", _forward)
register_triton("pack_masks", rules.adapt)
