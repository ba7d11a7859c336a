"""How to test and time `condinst.ops.giou_loss`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _distances(dtype: torch.dtype, device: torch.device, count: int, seed: int) -> Tensor:
    """Distances in units of strides, as in the model."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 4, generator=generator, dtype=torch.float64) * 8 + 0.25).to(device, dtype)


def _weights(dtype: torch.dtype, device: torch.device, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, generator=generator, dtype=torch.float64).to(device, dtype)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def boxes(count: int) -> tuple[Tensor, Tensor]:
        return _distances(dtype, device, count, 0), _distances(dtype, device, count, 1)

    def weighted(count: int) -> tuple[Tensor, Tensor, Tensor]:
        return *boxes(count), _weights(dtype, device, count)

    none = {"reduction": "none"}
    plain = {"reduction": "none", "smooth": False}
    predicted, targets, weights = weighted(4501)  # more than one chunk of each kernel, and a remainder
    same = predicted[:9]
    partly = (predicted[:18], torch.cat([same, targets[9:18]]))  # the loss of equal boxes is 0, except for rounding
    two_sides = torch.cat([same[:, :2], targets[:9, 2:]], dim=1)
    # float64 is for the CPU only
    wide = [Sample("float64 targets", (predicted[:9], _distances(torch.float64, device, 9, 1)), none)]
    return [
        Sample("weights", weighted(37), none),
        Sample("plain", boxes(37), plain),
        Sample("weights, plain, sum", weighted(501), {"smooth": False}),
        Sample("mean", weighted(5), {"reduction": "mean"}),
        Sample("one", boxes(1)),
        Sample("float32 targets and weights", (predicted[:9], targets[:9].float(), weights[:9].float()), none),
        Sample("bfloat16 targets", (predicted[:9], targets[:9].bfloat16()), none),
        *(wide if device.type == "cpu" else []),
        Sample("chunks", (predicted, targets, weights), none),
        Sample("sum of chunks", (predicted, targets)),
        Sample("sliced", (predicted[1:200:2], targets[:100], weights[:300:3]), none),
        Sample("transposed", (predicted[:4].t(), targets[:4].t()), none),
        Sample(
            "off by one element", (predicted.flatten()[1:41].view(10, 4), targets.flatten()[1:41].view(10, 4)), none
        ),
        Sample("equal boxes", partly, none),
        Sample("equal boxes, plain", partly, plain),
        Sample("two equal sides", (two_sides, same), none),
        Sample("predictions without area", (same * 0, targets[:9]), none),
        Sample("neither has an area", (same * 0, targets[:9] * 0), none),
        *(Sample(f"nothing, {reduction}", boxes(0), {"reduction": reduction}) for reduction in ("mean", "sum", "none")),
    ]


def _small_samples(device: torch.device) -> list[Sample]:
    predicted, targets = _distances(torch.float64, device, 6, 0), _distances(torch.float64, device, 6, 1)
    weights = _weights(torch.float64, device, 6)
    return [
        Sample("sum", (predicted, targets, weights)),
        Sample("mean", (predicted, targets), {"reduction": "mean", "smooth": False}),
        Sample("none", (predicted, targets, weights), {"reduction": "none", "smooth": False}),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    predicted, targets = _distances(torch.float32, device, 8, 0), _distances(torch.float32, device, 8, 1)
    weights = _weights(torch.float32, device, 8)
    triples: list[tuple[Tensor, Tensor, Tensor | None]] = [
        (predicted, targets, weights),
        (predicted.half(), targets, None),
        (predicted[1::2], targets[::2], weights[::2]),
        (predicted[:4].t(), targets[:4].t(), None),
        (predicted[:0], targets[:0], weights[:0]),
    ]
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for p, t, w in triples:
        for reduce in (True, False):
            calls.append(("giou_loss", (p, t, w, True, reduce, False)))
            calls.append(("giou_loss", (p.detach().requires_grad_(), t, w, True, reduce, True)))
            grad_loss = torch.rand(() if reduce else p.shape[:1], device=device)
            calls.append(("giou_loss_backward", (grad_loss, p, t, w, True)))
    return calls


def _bad_inputs() -> list[BadInput]:
    predicted, targets, weights = torch.rand(3, 4), torch.rand(3, 4), torch.rand(3)
    return [
        BadInput("list", ([0.5], targets), {}, TypeError, "predicted: expected a tensor, got list"),
        BadInput("int", (predicted.int(), targets), {}, TypeError, "predicted: expected dtype .*got int32"),
        BadInput("int targets", (predicted, targets.int()), {}, TypeError, "targets: expected dtype .*got int32"),
        BadInput("one dimension", (predicted[0], targets), {}, ValueError, r"predicted: .*2 dimensions, got .*\[4\]"),
        BadInput("five", (torch.rand(2, 5), targets), {}, ValueError, r"predicted: expected shape \[2, 4\]"),
        BadInput("shape", (predicted, targets[:1]), {}, ValueError, r"targets: .*\[3, 4\], got \[1, 4\]"),
        BadInput("weights", (predicted, targets, weights[:1]), {}, ValueError, r"weights: .*\[3\], got \[1\]"),
        BadInput("int weights", (predicted, targets, weights.int()), {}, TypeError, "weights: .*got int32"),
        BadInput("device", (predicted, targets.to("meta")), {}, ValueError, "targets: expected the device .*got meta"),
        BadInput("reduction", (predicted, targets), {"reduction": "max"}, ValueError, "reduction: .*got 'max'"),
        BadInput("no such device", (predicted, targets), {"backend": "cuda"}, ValueError, "backend 'cuda'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # the positive locations of a few images
    predicted, targets = _distances(dtype, device, 2000, 0), _distances(torch.float32, device, 2000, 1)
    return [Sample("2000", (predicted, targets, _weights(torch.float32, device, 2000)))]


_ROUNDING = "half a unit in the last place of the result, plus the float32 error before rounding"

SPEC = OpSpec(
    name="giou_loss",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(1e-12, 1e-14, "differences of numbers near 1, unit roundoff 1.1e-16"),
        torch.float32: Tolerance(2e-6, 1e-6, "differences of ratios near 1 of areas, each with some roundings of 6e-8"),
        torch.float16: Tolerance(2**-11 + 2e-6, 1e-6, _ROUNDING),
        torch.bfloat16: Tolerance(2**-8, 1e-6, _ROUNDING),
    },
    samples=_samples,
    small_samples=_small_samples,
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
    differentiable=(0,),
)
