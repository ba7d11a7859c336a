"""How to test and time `condinst.ops.dynamic_mask_head`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from condinst.ops.common.mask_network import num_mask_head_params
from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance

Options = Mapping[str, Any]


def mask_head_args(
    dtype: torch.dtype,
    device: torch.device,
    num_instances: int,
    size: tuple[int, int],
    options: Options,
    *,
    num_images: int = 2,
    feature_channels: int = 8,
) -> tuple[Tensor, ...]:
    """Random arguments that fit `options`. As in a trained model, hidden activations and logits are of the order of 1.

    Args:
        dtype: dtype of features and parameters.
        device: device of all tensors.
        num_instances: K.
        size: height and width of the mask features.
        options: keyword arguments of the call.
        num_images: B; instances are spread over the images at random.
        feature_channels: C.

    Returns:
        mask_features, params, locations, image_indices, sizes_of_interest.
    """
    generator = torch.Generator().manual_seed(num_instances)
    channels, num_layers = options.get("channels", 8), options.get("num_layers", 3)
    stride = options.get("feature_stride", 8)
    in_channels = feature_channels if options.get("use_features", True) else 0
    in_channels += 0 if options.get("coordinates") == "none" else 2
    num_params = num_mask_head_params(in_channels, channels, num_layers)
    features = torch.randn(num_images, feature_channels, *size, generator=generator, dtype=torch.float64)
    params = torch.randn(num_instances, num_params, generator=generator, dtype=torch.float64)
    extent = torch.tensor([size[1], size[0]]) * stride
    locations = torch.rand(num_instances, 2, generator=generator) * extent
    image_indices = torch.randint(max(num_images, 1), (num_instances,), generator=generator)
    sizes_of_interest = 64.0 * 2 ** torch.randint(5, (num_instances,), generator=generator)
    scale = max(in_channels, channels) ** -0.5  # keeps the size of activations the same from layer to layer
    return (
        features.to(device, dtype),
        (params * 2 * scale).to(device, dtype),
        locations.to(device),
        image_indices.to(device),
        sizes_of_interest.to(device),
    )


def layout_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    """Calls with the published options: odd sizes, several layouts, and many ways to spread instances over images."""

    def args(num_instances: int, size: tuple[int, int], num_images: int = 2) -> tuple[Tensor, ...]:
        return mask_head_args(dtype, device, num_instances, size, {}, num_images=num_images)

    features, params, locations, images, sizes = args(7, (11, 19), 3)
    wide = args(3, (21, 75))
    one_image = torch.ones_like(images)
    tall = torch.cat([features, features.flip(1)], dim=2).transpose(2, 3)
    return [
        Sample("5 instances", args(5, (5, 7))),
        Sample("one instance", args(1, (9, 16), 1)),
        Sample("one cell", args(4, (1, 1))),
        Sample("one row", args(2, (1, 37))),
        Sample("one column", args(2, (37, 1))),
        Sample("no instances", args(0, (5, 7))),
        Sample("no images", args(0, (5, 7), 0)),
        Sample("empty maps", args(2, (0, 7))),
        Sample("1000 instances", args(1000, (3, 4))),
        Sample("several tiles", wide),
        Sample("two images without instances", (features, params, locations, one_image, sizes)),
        Sample("falling image indices", (features, params, locations, images.sort(descending=True).values, sizes)),
        Sample("transposed", (tall, params, locations, images, sizes)),
        Sample("sliced", (wide[0][:, :, 1::2, 2:], *wide[1:])),
        Sample("sliced params", (features, torch.cat([params, params], 1)[:, :169], locations, images, sizes)),
        Sample("float64 locations, integer sizes", (features, params, locations.double(), images, sizes.long())),
    ]


OPTIONS: tuple[tuple[Options, int], ...] = (
    ({"num_layers": 1}, 8),
    ({"num_layers": 1, "coordinates": "none"}, 1),
    ({"num_layers": 2, "channels": 16}, 8),
    ({"num_layers": 3, "channels": 4, "coordinates": "absolute"}, 8),
    ({"num_layers": 3, "channels": 5, "coordinates": "none"}, 3),
    ({"num_layers": 3, "channels": 8, "use_features": False}, 8),
    ({"num_layers": 3, "channels": 1}, 4),
    ({"num_layers": 3, "channels": 2}, 2),
    ({"num_layers": 4, "channels": 8}, 16),
    ({"num_layers": 4, "channels": 16}, 16),
    ({"num_layers": 4, "channels": 13, "coordinates": "absolute", "upsample_factor": 4}, 11),
    ({"upsample_factor": 1}, 8),
    ({"upsample_factor": 4}, 8),
    ({"upsample_factor": 4, "feature_stride": 16, "num_layers": 2, "channels": 3}, 5),
    ({"upsample_factor": 1, "feature_stride": 1}, 8),
    ({"feature_stride": 4}, 8),
)
"""(options, C) with all depths, widths, coordinates and factors, for specialised and for generic kernels."""


def _name(options: Options, feature_channels: int) -> str:
    return ", ".join(f"{key} {value}" for key, value in {"C": feature_channels, **options}.items())


def option_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    """Calls with every kind of option."""
    return [
        Sample(
            _name(options, feature_channels),
            mask_head_args(dtype, device, 4, (6, 21), options, feature_channels=feature_channels),
            options,
        )
        for options, feature_channels in OPTIONS
    ]


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    return [*layout_samples(dtype, device), *option_samples(dtype, device)]


SMALL_OPTIONS: tuple[Options, ...] = (
    {},
    {"num_layers": 1, "upsample_factor": 1},
    {"num_layers": 2, "channels": 3, "coordinates": "none", "upsample_factor": 4},
    {"num_layers": 4, "channels": 2, "coordinates": "absolute"},
    {"use_features": False},
)


def _small_samples(device: torch.device) -> list[Sample]:
    return [
        Sample(
            _name(options, 3), mask_head_args(torch.float64, device, 3, (3, 5), options, feature_channels=3), options
        )
        for options in SMALL_OPTIONS
    ]


NATIVE_OPTIONS = (8, 3, 8, "relative", True, 2)
"""feature_stride, num_layers, channels, coordinates, use_features, upsample_factor: in the order of the schema."""


def native_args(device: torch.device) -> list[tuple[Tensor, ...]]:
    """Tensor arguments of ``torch.ops.condinst``: contiguous, half precision, transposed, sliced and empty."""
    features, params, *rest = mask_head_args(torch.float32, device, 3, (4, 6), {})
    nothing = mask_head_args(torch.float32, device, 0, (4, 6), {})
    return [
        (features, params, *rest),
        (features.half(), params.half(), *rest),
        (features.transpose(2, 3), params, *rest),
        (features[:, :, ::2, 1:], torch.cat([params, params], 1)[:, :169], *rest),
        (features[:, :, :0], params, *rest),
        nothing,
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for features, params, *rest in native_args(device):
        leaves = (features.detach().requires_grad_(), params.detach().requires_grad_())
        calls.append(("dynamic_mask_head", (features, params, *rest, *NATIVE_OPTIONS)))
        calls.append(("dynamic_mask_head", (*leaves, *rest, *NATIVE_OPTIONS)))
        size = (params.shape[0], 2 * features.shape[2], 2 * features.shape[3])
        grad = torch.rand(size, device=device).to(features.dtype)
        calls.append(("dynamic_mask_head_backward", (grad, features, params, *rest, *NATIVE_OPTIONS)))
    return calls


def bad_mask_head_inputs(*more: Any) -> list[BadInput]:
    """Calls for which `dynamic_mask_head` and `dynamic_mask_loss` raise the same error; `more` comes after them."""
    good = mask_head_args(torch.float32, torch.device("cpu"), 3, (4, 6), {})
    names = ("mask_features", "params", "locations", "image_indices", "sizes_of_interest")

    def bad(name: str, change: Options, options: Options, error: type[Exception], message: str) -> BadInput:
        args = (*(change.get(key, value) for key, value in zip(names, good, strict=True)), *more)
        return BadInput(name, args, options, error, message)

    features, params, locations, images, sizes = good
    none = {"coordinates": "none", "use_features": False}
    return [
        bad("168 params", {"params": params[:, 1:]}, {}, ValueError, r"params: .*\[3, 169\], got \[3, 168\]"),
        bad("other depth", {}, {"num_layers": 2}, ValueError, r"params: .*\[3, 97\], got \[3, 169\]"),
        bad("flat params", {"params": params[0]}, {}, ValueError, "params: expected 2 dimensions"),
        bad("list", {"params": [0.5]}, {}, TypeError, "params: expected a tensor, got list"),
        bad("three dimensions", {"mask_features": features[0]}, {}, ValueError, "mask_features: expected 4 dimensions"),
        bad("integer features", {"mask_features": features.int()}, {}, TypeError, "mask_features: expected dtype"),
        bad("mixed dtypes", {"params": params.half()}, {}, TypeError, r"params: .*\(float32\), got float16"),
        bad("mixed devices", {"params": params.to("meta")}, {}, ValueError, "params: expected the device .*got meta"),
        bad("locations", {"locations": locations[1:]}, {}, ValueError, r"locations: .*\[3, 2\], got \[2, 2\]"),
        bad("int32 indices", {"image_indices": images.int()}, {}, TypeError, "image_indices: expected dtype int64"),
        bad("index 2 of 2", {"image_indices": images * 0 + 2}, {}, ValueError, r"image_indices: .*0 \.\. 1, got 2"),
        bad("index -1", {"image_indices": images * 0 - 1}, {}, ValueError, r"image_indices: .*0 \.\. 1, got -1"),
        bad("sizes", {"sizes_of_interest": sizes[:, None]}, {}, ValueError, r"sizes_of_interest: .*\[3\]"),
        bad("stride 0", {}, {"feature_stride": 0}, ValueError, "feature_stride: expected at least 1, got 0"),
        bad("stride 2.5", {}, {"feature_stride": 2.5}, TypeError, "feature_stride: expected an integer, got float"),
        bad("no layers", {}, {"num_layers": 0}, ValueError, "num_layers: expected at least 1"),
        bad("no channels", {}, {"channels": 0}, ValueError, "channels: expected at least 1"),
        bad("factor 3", {}, {"upsample_factor": 3}, ValueError, "upsample_factor: expected one of 1, 2, 4; got 3"),
        bad("coordinates", {}, {"coordinates": "polar"}, ValueError, "coordinates: expected one of relative, absol"),
        bad("no input", {}, none, ValueError, "mask_features: expected at least one channel"),
        bad("no such device", {}, {"backend": "cuda"}, ValueError, "backend 'cuda'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # one image of 800 x 1088 with as many instances as the evaluation of COCO uses
    return [Sample("100 x 100x136", mask_head_args(dtype, device, 100, (100, 136), {}, num_images=1))]


LOGITS = "sums of at most 18 products in each of at most 4 layers, in float32"
GRADIENTS = "float32 sums over the pixels of all instances, of both signs"

SPEC = OpSpec(
    name="dynamic_mask_head",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(0, 1e-13, "sums of at most 18 products in each of at most 4 layers"),
        torch.float32: Tolerance(0, 2e-5, LOGITS),
        torch.float16: Tolerance(2**-11, 2e-5, f"rounded once to 11 bits; {LOGITS}"),
        torch.bfloat16: Tolerance(2**-8, 2e-5, f"rounded once to 8 bits; {LOGITS}"),
    },
    gradient_tolerances={
        torch.float64: Tolerance(0, 1e-12, "sums over the pixels of all instances, of both signs"),
        torch.float32: Tolerance(0, 1e-4, GRADIENTS),
        torch.float16: Tolerance(2**-11, 1e-4, f"rounded once to 11 bits; {GRADIENTS}"),
        torch.bfloat16: Tolerance(2**-8, 1e-4, f"rounded once to 8 bits; {GRADIENTS}"),
    },
    samples=_samples,
    small_samples=_small_samples,
    native_calls=_native_calls,
    bad_inputs=bad_mask_head_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(0, 1),
)
