"""`mask_centers` by a Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends.launch import as_bytes, kernels, launch
from condinst.backends.triton import define

ROWS = 16
COLUMNS = 128


def _forward(masks: Tensor) -> Tensor:
    masks = as_bytes(masks)
    num_masks, height, width = masks.shape
    num_bands = -(-height // ROWS)
    partial = masks.new_empty(num_masks, num_bands, 3, dtype=torch.int64)
    launch(
        kernels("mask_centers").mask_centers_sums,
        num_masks * num_bands,
        masks,
        partial,
        height,
        width,
        num_bands,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
    )
    sums = partial.sum(dim=1).double()  # [G, 3], integers
    return (sums[:, :2] / sums[:, 2:]).float()


define("mask_centers(Tensor masks) -> Tensor", _forward)
