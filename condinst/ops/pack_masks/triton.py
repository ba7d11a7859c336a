"""`pack_masks` by a Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.launch import as_bytes, kernels, launch
from condinst.backends.triton import define

BLOCK = 32
"""The number of words per program."""


def _forward(masks: Tensor, threshold: float) -> Tensor:
    if masks.is_floating_point():  # PyTorch compares with the threshold in the dtype of the masks.
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
