"""`dynamic_mask_head`: the per-instance 1x1 convolutions of section 3.1."""

from __future__ import annotations

from torch import Tensor

from condinst.backends import select
from condinst.ops.common.mask_network import MaskHeadShape, check_mask_head_inputs


def dynamic_mask_head(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    *,
    feature_stride: int = 8,
    num_layers: int = 3,
    channels: int = 8,
    coordinates: str = "relative",
    use_features: bool = True,
    upsample_factor: int = 2,
    backend: str | None = None,
) -> Tensor:
    """Mask logits of K instances, each computed by a separate small network on shared features (section 3.1).

    The network of instance k runs over two channels of coordinates (x, then y) followed by the features of its image.
    It has `num_layers` 1x1 convolutions, ReLU between them, and one output channel. Then `aligned_bilinear` upsamples
    by `upsample_factor`.

    The native backends do this in one pass: there is no gathered copy of the features, no map of coordinates, and the
    logits before upsampling are only in registers and caches. Arithmetic is in float32, or in float64 for float64
    features, also under autocast. Gradients flow to `mask_features` and `params`; locations and sizes are constants.
    The native backends have first-order gradients only. The result is the same from run to run and for any number of
    threads, gradients included. Infinite features or parameters give unspecified logits, NaN gives NaN.

    Args:
        mask_features: [B, C, H, W] floating.
        params: [K, P] filters, dtype of `mask_features`: all weights, layer by layer and (out, in) row-major, then all
            biases; see `num_mask_head_params`.
        locations: [K, 2] (x, y) in pixels of the network input: the location that predicted the instance, not the
            centre of its box.
        image_indices: [K] int64 in 0 .. B-1, in any order.
        sizes_of_interest: [K] pixels; 64, 128, .. by the pyramid level of the detection in numerics 1.7.
        feature_stride: pixels per cell of `mask_features`; cell j is at ``j * stride + stride // 2``.
        num_layers: at least 1; the kernels have 1 to 4.
        channels: width of the hidden layers; the kernels have 1 to 16, also for C.
        coordinates: "relative": ``(location - pixel) / size_of_interest``; "absolute": ``pixel / size_of_interest``;
            "none": features only (Table 3; the paper does not say how it scales absolute coordinates).
        use_features: False runs the network on coordinates alone.
        upsample_factor: 1, 2 or 4 (Table 5).
        backend: see `condinst.backends.registry`.

    Returns:
        [K, H * upsample_factor, W * upsample_factor] logits, dtype of `mask_features`.

    Raises:
        TypeError: wrong dtype.
        ValueError: shapes that do not fit together (for `params` the message gives the expected P), options out of
            range, tensors on several devices, and on the CPU an image index that is out of range. On a GPU, and inside
            ``torch.compile``, the kernels check the indices, because reading them would wait for the GPU: an instance
            with such an index gets NaN, and nothing is read out of bounds.
        NotImplementedError: ``torch.func`` or forward-mode AD differentiates by `locations` or `sizes_of_interest`.
    """
    shape = MaskHeadShape(feature_stride, num_layers, channels, coordinates, use_features, upsample_factor)
    check_mask_head_inputs(mask_features, params, locations, image_indices, sizes_of_interest, shape)
    implementation = select(
        "dynamic_mask_head", backend, mask_features, params, num_layers=num_layers, channels=channels
    )
    return implementation(
        mask_features,
        params,
        locations,
        image_indices,
        sizes_of_interest,
        **shape.as_keywords(),
    )
