"""`masks_to_image`: turns mask logits into binary masks at image size (numerics 1.11)."""

from __future__ import annotations

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import no_tangents
from condinst.ops.common.checks import check_mask_sizes


def masks_to_image(
    mask_logits: Tensor,
    *,
    mask_stride: int = 4,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
    backend: str | None = None,
) -> Tensor:
    """Binary masks at image size: sigmoid, aligned upsampling, crop of the padding, bilinear resize, threshold.

    Has no gradient. Pixels whose probability is within 1e-6 of the threshold may differ between backends.

    The probability of a pixel is a weighted sum of the probabilities of at most 3 x 3 cells. If a cell with a weight
    above 0 is NaN, the pixel is not set; a cell with a weight of 0 has no influence. An infinite logit is a probability
    of 0 or 1. This holds on every device and for all sizes, also without a resize.

    Args:
        mask_logits: [K, h, w] floating, at `mask_stride`, of the padded network input; may have NaN and infinities.
        mask_stride: pixels of the network input per logit.
        network_size: (height, width) of the image in the network input, without padding; at most
            ``(h * mask_stride, w * mask_stride)``.
        output_size: (height, width) of the result, less than 2^31 pixels.
        threshold: in 0..1; a pixel is set when its probability is above it. The resize works on probabilities.
        backend: see `condinst.backends.registry`.

    Returns:
        [K, *output_size] bool.

    Raises:
        TypeError: wrong dtype.
        ValueError: not [K, h, w], or sizes that do not fit.
    """
    check_mask_sizes(mask_logits, mask_stride, network_size, output_size, threshold)
    with torch.no_grad(), no_tangents():
        return select("masks_to_image", backend, mask_logits)(
            mask_logits,
            mask_stride=mask_stride,
            network_size=network_size,
            output_size=output_size,
            threshold=threshold,
        )
