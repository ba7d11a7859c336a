"""`masks_to_rle` in plain PyTorch and pycocotools."""

from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst.ops.masks_to_image.reference import masks_to_image

from . import EncodedMasks


def masks_to_rle(
    mask_logits: Tensor,
    *,
    mask_stride: int,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
) -> EncodedMasks:
    """The definition of `condinst.ops.masks_to_rle`; arguments and result are described there."""
    rles = []
    for logits in mask_logits.split(1) if len(mask_logits) else ():  # one mask of image size at a time
        masks = masks_to_image(
            logits, mask_stride=mask_stride, network_size=network_size, output_size=output_size, threshold=threshold
        )
        rles.append(coco_mask.encode(np.asfortranarray(masks[0].cpu().numpy().astype(np.uint8))))
    if not rles:
        return EncodedMasks([], torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    corners = torch.from_numpy(coco_mask.toBbox(rles)).float()  # [K, 4] x, y, width, height
    corners[:, 2:] += corners[:, :2]
    areas = torch.from_numpy(coco_mask.area(rles).astype(np.int64))  # [K]
    return EncodedMasks(rles, areas, corners * (areas > 0)[:, None])
