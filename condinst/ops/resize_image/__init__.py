"""`resize_image`: Pillow's bilinear resize, equal to the bit (numerics 1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from condinst.backends import select
from condinst.ops.common.checks import check_dims, check_elements, check_image_size, check_tensor


def resize_image(image: Tensor, size: Sequence[int], *, backend: str | None = None) -> Tensor:
    """The pixels that Pillow's ``Image.resize(..., Image.Resampling.BILINEAR)`` gives, on any device.

    Pixel i of an axis that goes from n to m pixels is the weighted mean of its neighbours j::

        scale = n / m,  support = max(scale, 1),  center = (i + 0.5) * scale
        weight(j) is proportional to max(0, 1 - |j + 0.5 - center| / support)

    The weights are rounded to integers of 22 bits, and the result of the pass along each axis to 8 bits. So a smaller
    image is antialiased, and equal sizes return equal pixels. The pass along x comes first, unless the height shrinks
    by more than twice what the width does. That is the rule of Pillow 13. Older versions always begin with x, which
    changes some pixels of tall images by 1.

    Args:
        image: [C, H, W] uint8.
        size: (height, width) of the result, at least 1 and together below 2^31 pixels.
        backend: see `condinst.backends.registry`.

    Returns:
        [C, height, width] uint8. It has no gradient.

    Raises:
        TypeError: another dtype.
        ValueError: not three dimensions, an image without pixels, or a size that is too small or too large.
    """
    check_tensor("image", image, (torch.uint8,))
    check_dims("image", image, 3)
    if not torch.compiler.is_compiling():
        check_image_size("image", tuple(image.shape[1:]))
    check_image_size("size", size)
    check_elements("size", image.shape[0], *size)
    return select("resize_image", backend, image)(image, tuple(size))
