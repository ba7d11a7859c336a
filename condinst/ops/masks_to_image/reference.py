"""`masks_to_image` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.ops.common.resampling import make_axes, resample

CHUNK_PIXELS = 1 << 21
"""The most pixels that are resampled at a time. Bounds the float masks at about 50 MB for any number of instances."""


def masks_to_image(
    mask_logits: Tensor,
    *,
    mask_stride: int,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
) -> Tensor:
    """The definition of `condinst.ops.masks_to_image`; arguments and result are described there."""
    num_instances, height, width = mask_logits.shape
    masks = torch.empty(num_instances, *output_size, dtype=torch.bool, device=mask_logits.device)  # [K, H, W]
    pixels = max(height * width * mask_stride**2, output_size[0] * output_size[1])
    chunk = max(1, CHUNK_PIXELS // pixels)
    for start in range(0, num_instances, chunk):
        # NaN must not reach PyTorch's resampling, whose result for 0 x NaN depends on sizes, device and version.
        probabilities = mask_logits[start : start + chunk].float().nan_to_num(nan=0.0).sigmoid()  # [k, h, w]
        fine = aligned_bilinear(probabilities, mask_stride)  # [k, h*stride, w*stride]
        fine = fine[:, : network_size[0], : network_size[1]]  # [k, H_network, W_network] without the padding
        fine = F.interpolate(fine[:, None], size=output_size, mode="bilinear", align_corners=False)  # [k, 1, H, W]
        torch.gt(fine[:, 0], threshold, out=masks[start : start + chunk])
    nan = mask_logits.isnan()  # [K, h, w]
    # A graph or a shape cannot depend on values.
    if torch.compiler.is_compiling() or nan.is_meta or bool(nan.any()):
        axes = make_axes((height, width), mask_stride, network_size, output_size, mask_logits.device)
        for start in range(0, num_instances, chunk):
            shares = resample(nan[start : start + chunk].permute(1, 2, 0).float(), axes)  # [W, H, k]
            masks[start : start + chunk] &= (shares == 0).permute(2, 1, 0)
    return masks
