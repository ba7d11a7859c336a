"""How to test and time `condinst.ops.panoptic_merge`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops.masks_to_image.spec import blobs
from condinst.ops.panoptic_merge.reference import fixed_sigmoid
from condinst.testing.spec import BadInput, OpSpec, Sample


def regions(num_images: int, num_channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Semantic logits [B, C, h, w] like those of a model: smooth over about 48 cells, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(num_images, num_channels, height // 48 + 2, width // 48 + 2, generator=generator)
    smooth = F.interpolate(4 * coarse, size=(height, width), mode="bicubic")
    return smooth + torch.randn(smooth.shape, generator=generator) / 16


def inputs(
    dtype: torch.dtype,
    device: torch.device,
    *,
    num_instances: int = 6,
    mask_size: tuple[int, int] = (13, 17),
    semantics: tuple[int, int, int, int] = (2, 5, 13, 17),
    levels: int = 0,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks, scores with ties around 0.45, image indices that include padding, and semantic logits.

    With `levels`, logits are whole numbers of at most ``levels // 2``, so that many pixels are at the threshold and
    many classes tie.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        values = 2 * torch.randn(shape, generator=generator)
        return values if levels == 0 else values.round().clamp(-(levels // 2), levels // 2)

    masks = normal(num_instances, *mask_size) - (1.5 if levels == 0 else 0)
    scores = torch.tensor([0.2, 0.45, 0.45, 0.7, 0.7, 0.9])[torch.randint(6, (num_instances,), generator=generator)]
    images = torch.randint(-1, semantics[0], (num_instances,), generator=generator)
    return masks.to(device, dtype), scores.to(device, dtype), images.to(device), normal(*semantics).to(device, dtype)


def random_sample(seed: int) -> Sample:
    """A call where rounding decides: logits tie, nearly tie, or lie at the threshold. Sizes and strides are random."""
    generator = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def logits(*shape: int) -> Tensor:
        normal = torch.randn(shape, generator=generator)
        kind = integer(0, 5)
        if kind == 0:
            return normal
        if kind == 1:
            return normal.round()
        if kind == 2:  # nearly all the same, or all the same
            return torch.randn((), generator=generator) * (1 + integer(0, 1) * 2**-22 * normal)
        if kind == 3:  # maps that differ by the last bits of all their cells
            steps = torch.randint(4, (*shape[:-2], 1, 1), generator=generator)
            return torch.randn(shape[-2:], generator=generator) * (1 + 2**-23 * steps)
        if kind == 4:
            return normal * 10.0 ** torch.randint(-40, 39, shape, generator=generator)
        odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0])
        return torch.where(
            torch.rand(shape, generator=generator) < 0.1, odd[torch.randint(4, shape, generator=generator)], normal
        )

    strides = integer(1, 5), integer(1, 5)
    covered = integer(1, 60), integer(1, 90)
    num_images, num_channels, num_instances = integer(1, 3), integer(1, 9), integer(0, 9)
    cells = [tuple(-(-side // stride) for side in covered) for stride in strides]
    masks = logits(num_instances, *cells[0])
    threshold = fixed_sigmoid(masks).flatten()[:1].clamp(0, 1).sum().item()  # of the first cell
    options: dict[str, Any] = {
        "network_sizes": [(integer(1, covered[0]), integer(1, covered[1])) for _ in range(num_images)],
        "output_sizes": [(integer(1, 90), integer(1, 200)) for _ in range(num_images)],
        "num_thing_channels": integer(0, num_channels),
        "mask_stride": strides[0],
        "semantic_stride": strides[1],
        "mask_threshold": (0.5, threshold)[integer(0, 1)],
        "overlap_threshold": (0.4, 0.9)[integer(0, 1)],
        "stuff_area_limit": (0, 100)[integer(0, 1)],
    }
    scores = torch.tensor([0.3, 0.45, 0.6, 0.9])[torch.randint(4, (num_instances,), generator=generator)]
    images = torch.randint(-1, num_images, (num_instances,), generator=generator)
    semantics = logits(num_images, num_channels, *cells[1])
    return Sample(f"seed {seed}", (masks, scores, images, semantics), options)


def _options(
    networks: list[tuple[int, int]], outputs: list[tuple[int, int]], things: int = 2, **options: Any
) -> dict[str, Any]:
    sizes: dict[str, Any] = {"network_sizes": networks, "output_sizes": outputs, "num_thing_channels": things}
    return sizes | {"stuff_area_limit": 40} | options


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def arguments(**options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return inputs(dtype, device, **options)

    masks, scores, images, semantics = arguments()
    options = _options([(52, 68), (45, 59)], [(52, 68), (73, 101)])
    single = _options([(52, 68)], [(61, 83)])
    not_finite = [tensor.clone() for tensor in (masks, scores, semantics)]
    not_finite[0][0, 3:7, 3:9] = torch.nan
    not_finite[0][1, 4] = torch.inf
    not_finite[0][2, 9] = -torch.inf
    not_finite[1][3] = torch.nan
    not_finite[2][0, :, 2:5] = torch.nan
    not_finite[2][0, 1, 7] = torch.inf
    not_finite[2][1, :, :, 4] = -torch.inf
    larger = arguments(num_instances=40, semantics=(3, 21, 13, 17), seed=3)
    three = _options([(52, 68), (1, 1), (31, 66)], [(120, 200), (7, 5), (90, 131)], 0)
    return [
        Sample("several sizes", (masks, scores, images, semantics), options),
        Sample("smaller", (masks, scores, images, semantics), options | {"output_sizes": [(19, 23), (6, 130)]}),
        Sample("whole numbers", arguments(levels=2, seed=1), options),
        Sample("all ties", arguments(levels=1), options | {"num_thing_channels": 0}),
        Sample("not finite", (not_finite[0], not_finite[1], images, not_finite[2]), options),
        Sample("many", larger, three),
        Sample("strides", arguments(semantics=(1, 4, 27, 35)), single | {"semantic_stride": 2}),
        Sample("odd strides", arguments(semantics=(1, 4, 18, 23)), single | {"semantic_stride": 3, "mask_stride": 5}),
        Sample(
            "stride 1", arguments(mask_size=(52, 68), semantics=(1, 3, 52, 68)), single | {"mask_stride": 1} | _STRIDE_1
        ),
        Sample("no stuff", (masks, scores, images, semantics), options | {"num_thing_channels": 5}),
        Sample("one channel", (masks, scores, images, semantics[:, :1]), options | {"num_thing_channels": 0}),
        Sample("no instances", (masks[:0], scores[:0], images[:0], semantics), options),
        Sample("no images", (masks, scores, images.clamp(max=-1), semantics[:0]), _options([], [])),
        Sample("thresholds", (masks, scores, images, semantics), options | _OTHER_THRESHOLDS),
        Sample("extreme thresholds", (masks, scores, images, semantics), options | _EXTREME_THRESHOLDS),
        Sample("one cell", arguments(mask_size=(1, 1), semantics=(1, 3, 1, 1)), _options([(4, 3)], [(9, 11)], 1)),
        # more bands of rows than a warp settles at once, and masks wider than a block's tile
        Sample("tall", arguments(mask_size=(40, 5), semantics=(1, 3, 40, 5)), _options([(157, 19)], [(1040, 20)])),
        Sample("wide", arguments(mask_size=(3, 900), semantics=(1, 3, 3, 900)), _options([(12, 3590)], [(20, 300)])),
        Sample(
            "sliced",
            (masks[1:, ::2, 3:], scores[1:], images[1:], semantics[:, 1:, ::2, 3:]),
            _options([(26, 50), (28, 56)], [(40, 60), (52, 33)]),
        ),
        Sample(
            "transposed",
            (masks.transpose(1, 2), scores, images, semantics.transpose(2, 3)),
            _options([(68, 52), (67, 50)], [(40, 60), (80, 33)]),
        ),
    ]


_STRIDE_1 = {"semantic_stride": 1}
_OTHER_THRESHOLDS = {
    "score_threshold": 0.7,
    "mask_threshold": 0.3,
    "overlap_threshold": 0.9,
    "stuff_area_limit": 0,
}
_EXTREME_THRESHOLDS = {"score_threshold": 0, "mask_threshold": 0, "overlap_threshold": 1.0, "stuff_area_limit": 1500}


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    masks, scores, images, semantics = inputs(torch.float32, device)
    sizes = ([48, 66, 47, 60], [40, 31, 50, 20])
    rest = (2, 4, 4, 0.45, 0.5, 0.4, 40)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("panoptic_merge", (mask_logits, scores, images, semantic_logits, *sizes, *rest))
        for mask_logits, semantic_logits in ((masks, semantics), (masks.half(), semantics.bfloat16()))
    ]
    half = ([26, 34, 25, 30], [40, 31, 50, 20])
    calls += [
        ("panoptic_merge", (masks[2:, ::2, ::2], scores[2:], images[2:], semantics[:, 1:, ::2, ::2], *half, *rest)),
        ("panoptic_merge", (masks[:0], scores[:0], images[:0], semantics.transpose(2, 3), *half, *rest)),
    ]
    return calls


def _bad_inputs() -> list[BadInput]:
    masks, scores, images, semantics = inputs(torch.float32, torch.device("cpu"))
    options = _options([(52, 68), (45, 59)], [(52, 68), (73, 101)])

    def bad(name: str, error: type[Exception], message: str, *args: Any, **changed: Any) -> BadInput:
        arguments = (*args, *(masks, scores, images, semantics)[len(args) :])
        return BadInput(name, arguments, options | changed, error, message)

    return [
        bad("list", TypeError, "mask_logits: expected a tensor, got list", [[[0.0]]]),
        bad("two dimensions", ValueError, r"mask_logits: expected 3 dimensions", masks[0]),
        bad("int scores", TypeError, "scores: expected dtype .*got int64", masks, images),
        bad("scores", ValueError, r"scores: expected shape \[6\], got \[5\]", masks, scores[1:]),
        bad("float images", TypeError, "image_indices: expected dtype int64", masks, scores, scores),
        bad("images", ValueError, r"image_indices: expected shape \[6\]", masks, scores, images[1:]),
        bad("image 2", ValueError, r"image_indices: expected numbers in -1 .. 1, got 2", masks, scores, images + 1),
        bad("int semantics", TypeError, "semantic_logits: expected dtype", masks, scores, images, semantics.long()),
        bad("three dimensions", ValueError, "semantic_logits: .* 4 dim", masks, scores, images, semantics[0]),
        bad("no channels", ValueError, "semantic_logits: .*1 channel", masks, scores, images, semantics[:, :0]),
        bad("things", ValueError, "num_thing_channels: expected at most 5 .*got 6", num_thing_channels=6),
        bad("negative things", ValueError, "num_thing_channels: expected at least 0", num_thing_channels=-1),
        bad("mask stride", ValueError, "mask_stride: expected at least 1", mask_stride=0),
        bad("semantic stride", ValueError, "semantic_stride: expected at least 1", semantic_stride=0),
        bad("one size", ValueError, r"network_sizes: .*per image \(2\), got 1", network_sizes=[(52, 68)]),
        bad("three sizes", ValueError, r"output_sizes: .*per image \(2\), got 3", output_sizes=[(5, 6)] * 3),
        bad("network", ValueError, r"network_sizes: .*\[52, 68\].*\(53, 68\)", network_sizes=[(53, 68), (45, 59)]),
        bad("smaller map", ValueError, r"network_sizes: .*\[26, 34\].*\(52, 68\)", semantic_stride=2),
        bad("no output", ValueError, r"output_sizes: .*\(0, 6\)", output_sizes=[(5, 6), (0, 6)]),
        bad("output", ValueError, r"output_sizes: .*2\^31", output_sizes=[(5, 6), (1 << 20, 1 << 20)]),
        bad("score", ValueError, "score_threshold: expected", score_threshold=1.5),
        bad("mask", ValueError, "mask_threshold: expected", mask_threshold=-0.5),
        bad("overlap", ValueError, "overlap_threshold: expected", overlap_threshold=40),
        bad("limit", ValueError, "stuff_area_limit: expected at least 0", stuff_area_limit=-1),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    scores = (0.45 + 0.55 * torch.rand(100, generator=generator)).to(device, dtype)
    images = torch.zeros(100, dtype=torch.int64, device=device)
    masks = blobs(100, 200, 272).to(device, dtype)
    noise = 2 * torch.randn(100 + 133, 200, 272, generator=generator).to(device, dtype)
    sizes = [(800, 1088)]
    stuff = _options(sizes, sizes, 1, stuff_area_limit=4096)
    both = _options(sizes, sizes, 80, stuff_area_limit=4096)
    return [
        Sample("54 channels", (masks, scores, images, regions(1, 54, 200, 272).to(device, dtype)), stuff),
        Sample("133 channels", (masks, scores, images, regions(1, 133, 200, 272).to(device, dtype)), both),
        Sample("random logits", (noise[:100], scores, images, noise[None, 100:]), both),
    ]


SPEC = OpSpec(
    name="panoptic_merge",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={},  # maps and areas are equal
    samples=_samples,
    small_samples=lambda _: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
