"""The study of the dynamic mask head: masks of one image by number of instances, depth, width and upsampling factor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from condinst import ops
from condinst.backends import BACKENDS
from condinst.ops.dynamic_mask_head.reference import dynamic_mask_head as reference
from condinst.ops.dynamic_mask_head.spec import SPEC, mask_head_args

from .machine import available_backends
from .mask_head_baselines import chunk_logits, chunked_matmul, grouped_convolution
from .mask_rcnn import mask_rcnn_call
from .study import Limits, Progress, Setting, Study
from .timing import Call, clock_for, take_turns

GROUPED = "grouped convolution"
CHUNKED = "chunked matmul"
COMPILED_GROUPED = f"torch.compile({GROUPED})"
COMPILED_CHUNKED = f"torch.compile({CHUNKED})"
MASK_RCNN = "Mask R-CNN's mask head"

FEATURE_CHANNELS, FEATURE_STRIDE = 8, 8
SIZE = (100, 136)
INSTANCES = (1, 10, 100, 300, 1000)
DEPTHS, WIDTHS, FACTORS = (1, 2, 3, 4), (2, 4, 8, 16), (1, 2, 4)
CHUNK_SIZES = (1, 2, 4, 8, 16, 32)
NUM_CHECKED = 16

PAPER_MS_PER_100 = {
    "depth": {1: 2.2, 2: 3.3, 3: 4.5, 4: 5.6},
    "width": {2: 2.5, 4: 2.6, 8: 4.5, 16: 4.7},
}
"""Table 1 of the paper: the authors' milliseconds for 100 instances, on their GPU."""


@dataclass(frozen=True)
class HeadCase:
    """A call of the head on features [1, 8, *size].

    Attributes:
        num_instances: K.
        size: height and width of the mask features.
        num_layers, channels, upsample_factor: options of the head.
    """

    num_instances: int
    size: tuple[int, int]
    num_layers: int = 3
    channels: int = 8
    upsample_factor: int = 2

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the head."""
        return {
            "feature_stride": FEATURE_STRIDE,
            "num_layers": self.num_layers,
            "channels": self.channels,
            "upsample_factor": self.upsample_factor,
        }

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the convolutions, without the coordinates (which can be part of a bias) and upsampling."""
        widths = [FEATURE_CHANNELS] + [self.channels] * (self.num_layers - 1) + [1]
        per_pixel = sum(rows * columns for rows, columns in zip(widths[1:], widths[:-1], strict=True))
        return self.num_instances * self.size[0] * self.size[1] * per_pixel

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The shape of the masks."""
        height, width = self.size
        return self.num_instances, height * self.upsample_factor, width * self.upsample_factor

    def args(self, device: torch.device) -> tuple[Tensor, ...]:
        """Random arguments in float32."""
        return mask_head_args(torch.float32, device, self.num_instances, self.size, self.options, num_images=1)

    def setting(self, study: str, sample: str) -> Setting:
        """This case as a point of a study."""
        return Setting(
            study,
            sample,
            self.num_instances,
            self.multiply_adds,
            self.output_shape,
            measure_resident=study == "instances",
        )


def head_call(case: HeadCase, device: torch.device, chunk_size: int, variant: str) -> Call:
    """The call of one variant: logits, then the sigmoid in place."""
    if variant == MASK_RCNN:
        return mask_rcnn_call(
            case.num_instances, (case.size[0] * FEATURE_STRIDE, case.size[1] * FEATURE_STRIDE), device
        )
    heads: dict[str, Callable[..., Tensor]] = {
        GROUPED: grouped_convolution,
        COMPILED_GROUPED: grouped_convolution,
        CHUNKED: partial(chunked_matmul, chunk_size=chunk_size),
        **{backend: partial(ops.dynamic_mask_head, backend=backend) for backend in BACKENDS},
    }
    if variant == COMPILED_CHUNKED:
        heads[variant] = partial(chunked_matmul, chunk_size=chunk_size, network=torch.compile(chunk_logits))
    args, head, options = case.args(device), heads[variant], case.options

    def masks(*args: Tensor) -> Tensor:
        return head(*args, **options).sigmoid_()

    function = torch.compile(masks, dynamic=False) if variant == COMPILED_GROUPED else masks

    def call() -> Tensor:
        with torch.no_grad():
            return function(*args)

    return call


def check_masks(case: HeadCase, device: torch.device, variant: str, masks: object) -> None:
    """Raise AssertionError unless the masks of evenly spaced instances agree with the reference in float64."""
    assert isinstance(masks, Tensor)
    if variant == MASK_RCNN:
        assert masks.shape == (case.num_instances, 1, 28, 28), f"got masks of shape {tuple(masks.shape)}"
        return
    assert masks.shape == case.output_shape, f"expected masks of shape {case.output_shape}, got {tuple(masks.shape)}"
    checked = torch.linspace(0, case.num_instances - 1, min(case.num_instances, NUM_CHECKED)).round().long().to(device)
    features, *instance_args = case.args(device)
    selected = [tensor[checked] for tensor in instance_args]
    wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in selected]
    exact = reference(features.double(), *wide, **case.options)
    # The slope of the sigmoid is at most 1/4, so the tolerance is a quarter of that of the logits.
    tolerance = SPEC.tolerances[torch.float32].of_largest * exact.abs().max().item() / 4
    error = (masks[checked].double() - exact.sigmoid()).abs().max().item()
    rounding = torch.finfo(torch.float32).eps
    assert error <= tolerance + rounding, f"error {error:.2g}, expected at most {tolerance + rounding:.2g}"


def best_chunk_size(case: HeadCase, device: torch.device) -> int:
    """The number of instances per chunk that makes the chunked product fastest on this machine, by measurement."""
    sizes = [size for size in CHUNK_SIZES if size <= max(case.num_instances, CHUNK_SIZES[0])]
    calls = {str(size): head_call(case, device, size, CHUNKED) for size in sizes}
    for call in calls.values():
        call()
    times = take_turns(calls, clock_for(device), rounds=7, seconds_at_most=3.0)
    return min(sizes, key=lambda size: statistics.median(times[str(size)].computing))


@dataclass(frozen=True)
class Point:
    """A point of the study: the varied quantity ("instances", "depth", "width", "factor"), its value, and the call.

    Attributes:
        study, sample: see `Row`.
        case: the call.
        compiled: whether torch.compile is also measured.
        beside_mask_rcnn: whether the mask head of Mask R-CNN is also measured.
    """

    study: str
    sample: str
    case: HeadCase
    compiled: bool = False
    beside_mask_rcnn: bool = False


def mask_head_points(
    instances: tuple[int, ...] = INSTANCES, size: tuple[int, int] = SIZE, compiled: str = "one"
) -> list[Point]:
    """The points over the numbers of instances, then at 100 (or the nearest) over depth, width and factor.

    Args:
        instances: numbers of instances.
        size: height and width of the mask features.
        compiled: the numbers of instances for which torch.compile is measured, which takes half a minute each: "none",
            "one" or "all".

    Raises:
        ValueError: an option out of range.
    """
    _check_options(instances, size, compiled)
    main = _nearest_to_100(instances)
    points = [
        Point(
            "instances",
            f"{count} x {size[0]}x{size[1]}",
            HeadCase(count, size),
            compiled=compiled == "all" or (compiled == "one" and count == main),
            beside_mask_rcnn=count == main,
        )
        for count in sorted(instances)
    ]
    points += [Point("depth", str(depth), HeadCase(main, size, num_layers=depth)) for depth in DEPTHS]
    points += [Point("width", str(width), HeadCase(main, size, channels=width)) for width in WIDTHS]
    return points + [Point("factor", str(f), HeadCase(main, size, upsample_factor=f)) for f in FACTORS]


def _nearest_to_100(counts: Iterable[int]) -> int:
    return min(counts, key=lambda count: abs(count - 100))


@dataclass(frozen=True)
class MaskHeadStudy:
    """The results of `measure_mask_head`; `chunk_size` is the chunk size of the chunked product."""

    study: Study
    chunk_size: int

    def json_ready(self) -> dict[str, Any]:
        """All results, as dictionaries and lists."""
        return {
            "about": self.study.about,
            "multiply_adds_per_second": self.study.multiply_adds_per_second,
            "chunk_size": self.chunk_size,
            "rows": [asdict(row) for row in self.study.rows],
            "not_measured": [asdict(left_out) for left_out in self.study.not_measured],
            "paper_ms_per_100_instances": PAPER_MS_PER_100,
        }


def measure_mask_head(
    device: torch.device,
    points: Sequence[Point],
    *,
    rounds: int = 9,
    limits: Limits | None = None,
    progress: Progress = lambda _: None,
) -> MaskHeadStudy:
    """Time and memory at some points of the study.

    Args:
        device: device of the computation.
        points: points from `mask_head_points`, at least one.
        rounds: number of timings of each variant.
        limits: limits for calls that are left out.
        progress: called with a description of the next step.

    Raises:
        ValueError: an option out of range, or a variant that gives wrong results.
    """
    if rounds < 2:
        raise ValueError(f"rounds: expected at least 2, got {rounds}")
    main = _nearest_to_100(point.case.num_instances for point in points)
    progress("the machine's rates, the best chunk size")
    study = Study(
        "dynamic_mask_head",
        "forward",
        GROUPED,
        device,
        rounds=rounds,
        limits=limits or Limits(),
        progress=progress,
    )
    chunk_size = best_chunk_size(HeadCase(main, points[0].case.size), device)
    variants = [*available_backends("dynamic_mask_head", device), GROUPED, CHUNKED]

    for point in points:
        more = [COMPILED_GROUPED, COMPILED_CHUNKED] if point.compiled else []
        more += [MASK_RCNN] if point.beside_mask_rcnn else []
        study.measure(
            point.case.setting(point.study, point.sample),
            variants + more,
            partial(head_call, point.case, device, chunk_size),
            partial(check_masks, point.case, device),
        )
    return MaskHeadStudy(study, chunk_size)


def _check_options(instances: tuple[int, ...], size: tuple[int, int], compiled: str) -> None:
    if not instances or min(instances) < 1:
        raise ValueError(f"instances: expected numbers of at least 1, got {', '.join(map(str, instances)) or 'none'}")
    if min(size) < 1:
        raise ValueError(f"size: expected height and width of at least 1, got {size[0]}x{size[1]}")
    if compiled not in ("none", "one", "all"):
        raise ValueError(f"compile: expected one of none, one, all; got {compiled!r}")
