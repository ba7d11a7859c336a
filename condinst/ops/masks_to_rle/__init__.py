"""`masks_to_rle`: turns mask logits into COCO run lengths at image size, without masks of pixels (numerics 1.11)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from condinst.backends import select
from condinst.backends.transforms import is_transformed
from condinst.ops.common.checks import check_mask_sizes


class EncodedMasks(NamedTuple):
    """K masks as COCO run lengths, on the CPU.

    rles: per mask {"size": [height, width], "counts": bytes}; areas [K] int64 pixels; boxes [K, 4] float32
    (x1, y1, x2, y2), the smallest box around each mask, 0 for an empty mask.
    """

    rles: list[dict[str, Any]]
    areas: Tensor
    boxes: Tensor


def masks_to_rle(
    mask_logits: Tensor,
    *,
    mask_stride: int = 4,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
    backend: str | None = None,
) -> EncodedMasks:
    """The masks of `masks_to_image` in COCO's run-length encoding, as pycocotools writes it, with areas and boxes.

    No mask of image size is in memory: the kernels compute the changes along the columns of a mask from its logits, and
    a GPU sends only the runs to the host. Pixels whose probability is within 1e-6 of the threshold may differ between
    backends. Waits for the device; has no gradient.

    Args:
        mask_logits: [K, h, w] floating, at `mask_stride`, of the padded network input; NaN and infinities as in
            `masks_to_image`.
        mask_stride: pixels of the network input per logit.
        network_size: (height, width) of the image in the network input, without padding; at most
            ``(h * mask_stride, w * mask_stride)``.
        output_size: (height, width) of the result, less than 2^31 pixels.
        threshold: in 0..1; a pixel is set when its probability is above it.
        backend: see `condinst.backends.registry`.

    Returns:
        `EncodedMasks` on the CPU: rles, areas [K] int64, boxes [K, 4] float32.

    Raises:
        TypeError: wrong dtype.
        ValueError: not [K, h, w], a tensor without values (device "meta"), or sizes that do not fit.
        NotImplementedError: in a transform of ``torch.func``.
    """
    check_mask_sizes(mask_logits, mask_stride, network_size, output_size, threshold)
    if mask_logits.is_meta:
        raise ValueError("mask_logits: expected values to encode, got a tensor on the device meta")
    if is_transformed(mask_logits):
        raise NotImplementedError(
            "masks_to_rle: its results are text, which no transform of PyTorch and no backend='reference' can follow;"
            " call it outside of the transform, or masks_to_image within"
        )
    with torch.no_grad():
        return select("masks_to_rle", backend, mask_logits)(
            mask_logits,
            mask_stride=mask_stride,
            network_size=network_size,
            output_size=output_size,
            threshold=threshold,
        )
