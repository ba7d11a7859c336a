"""How to test and time `condinst.ops.sigmoid_focal_loss`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _logits(dtype: torch.dtype, device: torch.device, num_rows: int, num_classes: int, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(num_rows, num_classes, generator=generator, dtype=torch.float64) * scale
    return values.to(device, dtype)


def _labels(device: torch.device, num_rows: int, num_classes: int) -> Tensor:
    """A third of the rows are background."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(max(num_classes, 1), (num_rows,), generator=generator)
    labels[torch.rand(num_rows, generator=generator) < 0.34] = num_classes
    return labels.clamp(max=num_classes).to(device)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def args(num_rows: int, num_classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
        return _logits(dtype, device, num_rows, num_classes, scale), _labels(device, num_rows, num_classes)

    none = {"reduction": "none"}
    logits, labels = args(300, 91)  # more than one chunk of each kernel, and a remainder
    edges = torch.tensor([[-200.0, -60.0, 0.0, 60.0, 200.0]] * 6, dtype=dtype, device=device)
    return [
        Sample("7 classes", args(37, 7), none),
        Sample("sum", args(37, 80)),
        Sample("mean", args(5, 3), {"reduction": "mean"}),
        Sample("one class", args(45, 1), none),
        Sample("one logit", args(1, 1)),
        *(Sample(f"gamma {gamma}", args(9, 11), {**none, "gamma": gamma}) for gamma in (0.0, 0.5, 1.0, 1.5, 5.0)),
        Sample("other alpha", args(9, 11), {**none, "alpha": 0.9}),
        Sample("large logits", (edges, torch.arange(6, device=device)), none),
        Sample("large logits, gamma 1.5", (edges, torch.arange(6, device=device)), {**none, "gamma": 1.5}),
        Sample("chunks", (logits, labels), none),
        Sample("sum of chunks", (logits, labels)),
        Sample("background", (logits[:40], torch.full_like(labels[:40], 91)), none),
        Sample("no background", (logits[:40], torch.arange(40, device=device)), none),
        Sample("sliced", (logits[1:60:2, 3:], labels[1:60:2].clamp(max=88)), none),
        Sample("transposed", (logits[:50, :20].t(), labels[:20].clamp(max=50)), none),
        Sample("no classes", args(4, 0)),
        *(
            Sample(f"no rows, {reduction}", args(0, 80), {"reduction": reduction})
            for reduction in ("mean", "sum", "none")
        ),
    ]


def _small_samples(device: torch.device) -> list[Sample]:
    args = (_logits(torch.float64, device, 4, 3), _labels(device, 4, 3))
    return [
        Sample("sum", args),
        Sample("none", args, {"reduction": "none"}),
        Sample("mean", args, {"reduction": "mean", "gamma": 1.5}),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    logits, labels = _logits(torch.float32, device, 8, 6), _labels(device, 8, 6)
    pairs = [
        (logits, labels),
        (logits.half(), labels),
        (logits[1::2, 2:], labels[1::2].clamp(max=4)),
        (logits.t(), labels[:6]),
        (logits[:0], labels[:0]),
    ]
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for x, y in pairs:
        for reduce in (True, False):
            calls.append(("sigmoid_focal_loss", (x, y, 0.25, 2.0, reduce, False)))
            calls.append(("sigmoid_focal_loss", (x.detach().requires_grad_(), y, 0.25, 2.0, reduce, True)))
            grad_loss = torch.rand(() if reduce else x.shape, device=device)
            calls.append(("sigmoid_focal_loss_backward", (grad_loss, x, y, 0.25, 2.0)))
    return calls


def _bad_inputs() -> list[BadInput]:
    logits, labels = torch.rand(2, 3), torch.tensor([0, 3])
    return [
        BadInput("list", ([0.5], labels), {}, TypeError, "logits: expected a tensor, got list"),
        BadInput("int logits", (logits.int(), labels), {}, TypeError, "logits: expected dtype .*got int32"),
        BadInput("float labels", (logits, labels.float()), {}, TypeError, "labels: expected dtype int64; got float32"),
        BadInput("one dimension", (logits[0], labels), {}, ValueError, r"logits: expected 2 dimensions, .*\[3\]"),
        BadInput("shape", (logits, labels[:1]), {}, ValueError, r"labels: expected shape \[2\], got \[1\]"),
        BadInput("device", (logits, labels.to("meta")), {}, ValueError, "labels: expected the device .*got meta"),
        BadInput("label above", (logits, labels + 1), {}, ValueError, r"labels: expected numbers in 0 .. 3, got 4"),
        BadInput("label below", (logits, labels - 1), {}, ValueError, r"labels: expected numbers in 0 .. 3, got -1"),
        BadInput("alpha", (logits, labels), {"alpha": 1.5}, ValueError, "alpha: expected a number in 0..1, got 1.5"),
        BadInput("alpha text", (logits, labels), {"alpha": "1"}, TypeError, "alpha: expected a number, got str"),
        BadInput("gamma", (logits, labels), {"gamma": -1.0}, ValueError, "gamma: .*at least 0, got -1.0"),
        BadInput("gamma NaN", (logits, labels), {"gamma": torch.nan}, ValueError, "gamma: expected a finite number"),
        BadInput("reduction", (logits, labels), {"reduction": "max"}, ValueError, "reduction: .*got 'max'"),
        BadInput("no such device", (logits, labels), {"backend": "cuda"}, ValueError, "backend 'cuda'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # All locations of two images of 800 x 1088. Few of them are not background, as in training.
    num_rows, num_classes = 36_268, 80
    logits = _logits(dtype, device, num_rows, num_classes) - 4
    labels = torch.where(torch.arange(num_rows, device=device) % 50 == 0, _labels(device, num_rows, 80), num_classes)
    return [Sample(f"{num_rows}x{num_classes}", (logits, labels))]


_ROUNDING = "half a unit in the last place of the result, plus the float32 error before rounding"

SPEC = OpSpec(
    name="sigmoid_focal_loss",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(
            1e-12, 1e-12, "the reference's 1 - p, unit roundoff 1.1e-16, and up to 5 powers of it"
        ),
        torch.float32: Tolerance(
            2e-6,
            2e-7,
            "about 10 roundings of 6e-8, with those of the probability counted gamma times; its tail is far smaller",
        ),
        torch.float16: Tolerance(2**-11 + 2e-6, 2e-7, _ROUNDING),
        torch.bfloat16: Tolerance(2**-8, 2e-7, _ROUNDING),
    },
    samples=_samples,
    small_samples=_small_samples,
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(0,),
)
