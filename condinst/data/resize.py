"""AdelaiDet's resize of images (numerics 1.1): its sizes, and PIL's pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst import ops


def network_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """The (height, width) an image is resized to: shorter side `min_size`, unless the longer exceeds `max_size`."""
    scale = min_size / min(height, width)
    if height < width:
        new_height, new_width = float(min_size), scale * width
    else:
        new_height, new_width = scale * height, float(min_size)
    longest = max(new_height, new_width)
    if longest > max_size:
        new_height, new_width = new_height * max_size / longest, new_width * max_size / longest
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """PIL's bilinear resize (antialiased when shrinking, rounded to 8 bits), which AdelaiDet's models expect.

    Args:
        image: [3, H, W] uint8, or float in 0..1, which is rounded to 8 bits first.
        size: (height, width).

    Returns:
        [3, *size] uint8, on the device of `image`.
    """
    if image.is_floating_point():
        image = (image * 255).round().to(torch.uint8)
    return image if image.shape[-2:] == size else ops.resize_image(image, size)
