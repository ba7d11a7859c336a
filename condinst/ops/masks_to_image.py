"""`masks_to_image`: from mask logits to binary masks at image size (SPEC 1.11)."""

from __future__ import annotations

from torch import Tensor

from condinst.backends import select

from .checks import FLOATING, check_at_least, check_tensor


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

    Args:
        mask_logits: [K, h, w] floating, at `mask_stride`, of the padded network input.
        mask_stride: pixels of the network input per logit.
        network_size: (height, width) of the image as the network saw it, without padding; at most
            ``(h * mask_stride, w * mask_stride)``.
        output_size: (height, width) of the result.
        threshold: a pixel is set when its probability is above it. The resize works on probabilities.
        backend: see `condinst.backends.registry`.

    Returns:
        [K, *output_size] bool.

    Raises:
        TypeError: wrong dtype.
        ValueError: not [K, h, w], or sizes that do not fit.
    """
    check_tensor("mask_logits", mask_logits, FLOATING, min_dims=3)
    check_at_least("mask_stride", mask_stride, 1)
    covered = [side * mask_stride for side in mask_logits.shape[1:]]
    if not all(0 < size <= most for size, most in zip(network_size, covered, strict=True)):
        raise ValueError(f"network_size: expected 1 .. {covered} (mask size times mask_stride), got {network_size}")
    if min(output_size) < 1:
        raise ValueError(f"output_size: expected at least 1 x 1, got {output_size}")
    implementation = select("masks_to_image", backend, mask_logits)
    return implementation(
        mask_logits, mask_stride=mask_stride, network_size=network_size, output_size=output_size, threshold=threshold
    )
