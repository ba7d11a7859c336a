"""How to test and time `condinst.ops.decode_detections`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance

SIZES = ((5, 7), (3, 4), (2, 2))
STRIDES = (8, 16, 32)

STEP = 1 / 4
"""All logits are multiples of this number, which all dtypes represent exactly."""

MARGIN = 1e-5
"""Least relative distance of a product from the threshold, and between two different products. So no comparison depends
on the last bits of a sigmoid."""


def _grid(generator: torch.Generator, *shape: int, mean: float = 0.0, spread: float = 2.0) -> Tensor:
    return ((torch.randn(shape, generator=generator) * spread + mean) / STEP).round() * STEP


def decode_inputs(
    dtype: torch.dtype,
    device: torch.device,
    sizes: Sequence[tuple[int, int]] = SIZES,
    batch_size: int = 2,
    num_classes: int = 3,
    *,
    mean: float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits [B, L, C], centre-ness logits [B, L] and box distances [B, L, 4], coarse so that scores tie exactly.

    Centre-ness has two values, which class logits do not have, so that no two products differ only by the last bits of
    a sigmoid.
    """
    generator = torch.Generator().manual_seed(seed)
    num_locations = sum(height * width for height, width in sizes)
    class_logits = _grid(generator, batch_size, num_locations, num_classes, mean=mean)
    centerness = torch.randint(2, (batch_size, num_locations), generator=generator) * 1.625 - 0.46875
    distances = torch.rand(batch_size, num_locations, 4, generator=generator) * 4
    return class_logits.to(device, dtype), centerness.to(device, dtype), distances.to(device, dtype)


def check_margins(sample: Sample) -> None:
    """Raise ValueError unless every comparison of a sample is between equal logits or differs by more than `MARGIN`."""
    logits, centerness = (arg.double().cpu() for arg in sample.args[:2])
    centerness = centerness[:, :, None].expand_as(logits)
    products = (logits.sigmoid() * centerness.sigmoid()).flatten()
    threshold = sample.kwargs["score_threshold"] ** 2
    tested = products if sample.kwargs.get("threshold_with_centerness", True) else logits.sigmoid().flatten()
    if ((tested - threshold).abs() < MARGIN * threshold).any():
        raise ValueError(f"{sample.name}: a product is too close to the threshold")
    order = products.nan_to_num().argsort()
    products, logits, centerness = (values.flatten()[order] for values in (products, logits, centerness))
    near = products.diff() < MARGIN * products[1:]
    same = (logits[1:] == logits[:-1]) & (centerness[1:] == centerness[:-1])
    if (near & ~same).any():
        raise ValueError(f"{sample.name}: two products are too close to each other")


def _sample(name: str, args: tuple[Any, ...], sizes: Sequence[tuple[int, int]] = SIZES, **options: Any) -> Sample:
    kwargs = {"level_sizes": list(sizes), "strides": STRIDES[: len(sizes)], "score_threshold": 0.3, "top_k": 1000}
    sample = Sample(name, args, {**kwargs, **options})
    check_margins(sample)
    return sample


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def inputs(*args: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        return decode_inputs(dtype, device, *args, **options)

    logits, centerness, distances = inputs()
    wide = inputs(SIZES, 2, 6)
    with_nan = logits.clone()
    with_nan[0, ::3] = float("nan")
    nan_centerness = centerness.clone()
    nan_centerness[1, ::4] = float("nan")
    odd = ((1, 1), (0, 5), (3, 0))  # levels without cells
    long = ((29, 31), (7, 5))
    infinite = logits.clone()
    infinite[:, 1::2] = float("inf")
    infinite[:, ::5] = -float("inf")
    return [
        _sample("all fit", (logits, centerness, distances)),
        _sample("top 7", (logits, centerness, distances), top_k=7),
        _sample("top 1", (logits, centerness, distances), top_k=1),
        _sample("class threshold", (logits, centerness, distances), top_k=20, threshold_with_centerness=False),
        _sample("nothing is above", (logits, centerness, distances), score_threshold=1.0),
        _sample("all are above", (logits, centerness, distances), score_threshold=0.0),
        _sample("all are above, top 10", (logits, centerness, distances), score_threshold=0.0, top_k=10),
        _sample("all tie", (logits * 0, centerness * 0, distances), top_k=11),
        _sample("NaN in classes", (with_nan, centerness, distances), top_k=9),
        _sample("NaN in centre-ness", (logits, nan_centerness, distances), top_k=9),
        _sample(
            "NaN in centre-ness, class threshold",
            (logits, nan_centerness, distances),
            top_k=9,
            threshold_with_centerness=False,
        ),
        _sample("infinite logits", (infinite, centerness, distances), top_k=9, score_threshold=0.0),
        _sample("one class", inputs(SIZES, 3, 1), top_k=5),
        _sample("levels without cells", inputs(odd, 2, 2), odd),
        _sample("one level", inputs(((4, 6),), 1, 80), ((4, 6),), top_k=100),
        _sample("bands", inputs(long, 1, 16, mean=-2.0), long, top_k=700),
        _sample("bands, few", inputs(long, 2, 7, mean=-5.0), long, top_k=50),
        _sample("sliced", (wide[0][:, :, ::2], wide[1], wide[2]), top_k=20),
        _sample("transposed", (logits.mT.contiguous().mT, centerness.T.contiguous().T, distances), top_k=20),
        _sample("no images", (logits[:0], centerness[:0], distances[:0])),
        _sample("no classes", (logits[:, :, :0], centerness, distances)),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    logits, centerness, distances = decode_inputs(torch.float32, device)
    sizes, strides = [length for size in SIZES for length in size], list(STRIDES)
    inputs = [
        (logits, centerness, distances),
        (logits.half(), centerness.half(), distances.half()),
        (logits.mT.contiguous().mT, centerness.T.contiguous().T, distances),
        (logits[:, :, ::2], centerness, distances),
        (logits[:0], centerness[:0], distances[:0]),
    ]
    return [("decode_detections", (*args, sizes, strides, 0.3, 9, True)) for args in inputs]


def _bad_inputs() -> list[BadInput]:
    logits, centerness, distances = decode_inputs(torch.float32, torch.device("cpu"))
    good = {"level_sizes": list(SIZES), "strides": STRIDES, "score_threshold": 0.3, "top_k": 10}
    three = (logits, centerness, distances)
    return [
        BadInput("list", ([0.5], *three[1:]), good, TypeError, "class_logits: expected a tensor, got list"),
        BadInput("int", (logits.int(), *three[1:]), good, TypeError, "class_logits: expected dtype .*got int32"),
        BadInput("two dimensions", (logits[0], *three[1:]), good, ValueError, "class_logits: expected 3 dimensions"),
        BadInput("centre-ness", (logits, centerness[:1], distances), good, ValueError, "centerness_logits: .*shape"),
        BadInput("boxes", (logits, centerness, distances[..., :3]), good, ValueError, "box_distances: expected shape"),
        BadInput("device", (logits, centerness, distances.to("meta")), good, ValueError, "box_distances: .*device"),
        BadInput("cells", three, {**good, "level_sizes": [(5, 7), (3, 4), (2, 3)]}, ValueError, "level_sizes: .*51"),
        BadInput("strides", three, {**good, "strides": (8, 16)}, ValueError, "level_sizes: expected one per stride"),
        BadInput("stride 0", three, {**good, "strides": (8, 16, 0)}, ValueError, "strides: expected at least 1"),
        BadInput("threshold", three, {**good, "score_threshold": 1.5}, ValueError, "score_threshold: .*got 1.5"),
        BadInput("no threshold", three, {**good, "score_threshold": None}, TypeError, "score_threshold: .*NoneType"),
        BadInput("top 0", three, {**good, "top_k": 0}, ValueError, "top_k: expected at least 1, got 0"),
        BadInput("backend", three, {**good, "backend": "gpu"}, ValueError, "backend: expected .*got 'gpu'"),
        BadInput("declined", three, {**good, "backend": "triton"}, ValueError, "not made in Triton"),
    ]


PYRAMID_800 = ((100, 136), (50, 68), (25, 34), (13, 17), (7, 9))
"""Levels of an image of 800 x 1088, at strides 8 to 128."""


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    options = {
        "level_sizes": list(PYRAMID_800),
        "strides": (8, 16, 32, 64, 128),
        "score_threshold": 0.05,
        "top_k": 1000,
    }
    # few are above the threshold, as in a trained model
    return [
        Sample(f"batch {batch}", decode_inputs(dtype, device, PYRAMID_800, batch, 80, mean=-13.0), options)
        for batch in (1, 8)
    ]


_REASON = "a sigmoid, a product, a root and a box, each rounded to float32: a few units of 6e-8"

SPEC = OpSpec(
    name="decode_detections",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={torch.float32: Tolerance(1e-6, 3e-7, _REASON)},
    samples=_samples,
    small_samples=lambda device: [],
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(),
    reference_compiles=False,
)
