"""How to test and time `condinst.ops.centerness_loss`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _logits(dtype: torch.dtype, device: torch.device, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(count, generator=generator, dtype=torch.float64) * 4).to(device, dtype)


def _targets(dtype: torch.dtype, device: torch.device, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, generator=generator, dtype=torch.float64).to(device, dtype)


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def args(count: int, target_dtype: torch.dtype = dtype) -> tuple[Tensor, Tensor]:
        return _logits(dtype, device, count), _targets(target_dtype, device, count)

    none = {"reduction": "none"}
    logits, targets = args(9001)  # more than one chunk of each kernel, and a remainder
    edges = torch.tensor([-200.0, -30.0, 0.0, 30.0, 200.0], dtype=dtype, device=device)
    return [
        Sample("37", args(37), none),
        Sample("sum", args(501)),
        Sample("mean", args(5), {"reduction": "mean"}),
        Sample("one", args(1)),
        Sample("float32 targets", args(33, torch.float32), none),
        Sample("bfloat16 targets", args(33, torch.bfloat16), none),
        Sample("chunks", (logits, targets), none),
        Sample("sum of chunks", (logits, targets)),
        Sample("sliced", (logits[1:300:3], targets[:100]), none),
        Sample("expanded targets", (logits[:50], targets[:1].expand(50)), none),
        Sample("large logits on 0", (edges, torch.zeros_like(edges)), none),
        Sample("large logits on 1", (edges, torch.ones_like(edges)), none),
        *(Sample(f"nothing, {reduction}", args(0), {"reduction": reduction}) for reduction in ("mean", "sum", "none")),
    ]


def _small_samples(device: torch.device) -> list[Sample]:
    args = (_logits(torch.float64, device, 6), _targets(torch.float64, device, 6))
    return [Sample(reduction, args, {"reduction": reduction}) for reduction in ("sum", "mean", "none")]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    logits, targets = _logits(torch.float32, device, 24), _targets(torch.float32, device, 24)
    pairs = [(logits, targets), (logits.half(), targets), (logits[1::2], targets[::2]), (logits[:0], targets[:0])]
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for x, y in pairs:
        for reduce in (True, False):
            calls.append(("centerness_loss", (x, y, reduce, False)))
            calls.append(("centerness_loss", (x.detach().requires_grad_(), y, reduce, True)))
            grad_loss = torch.rand(() if reduce else x.shape, device=device)
            calls.append(("centerness_loss_backward", (grad_loss, x, y)))
    return calls


def _bad_inputs() -> list[BadInput]:
    logits, targets = torch.rand(3), torch.rand(3)
    return [
        BadInput("list", ([0.5], targets), {}, TypeError, "logits: expected a tensor, got list"),
        BadInput("int logits", (logits.int(), targets), {}, TypeError, "logits: expected dtype .*got int32"),
        BadInput("bool targets", (logits, targets > 0), {}, TypeError, "targets: expected dtype .*got bool"),
        BadInput("matrix", (logits[None], targets[None]), {}, ValueError, r"logits: expected 1 dimensions, .*\[1, 3\]"),
        BadInput("shape", (logits, targets[:1]), {}, ValueError, r"targets: .*\[3\], got \[1\]"),
        BadInput("device", (logits, targets.to("meta")), {}, ValueError, "targets: expected the device .*got meta"),
        BadInput("reduction", (logits, targets), {"reduction": "max"}, ValueError, "reduction: .*got 'max'"),
        BadInput("no such device", (logits, targets), {"backend": "cuda"}, ValueError, "backend 'cuda'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # the positive locations of a few images
    return [Sample("2000", (_logits(dtype, device, 2000), _targets(torch.float32, device, 2000)))]


_ROUNDING = "half a unit in the last place of the result, plus the float32 error before rounding"

SPEC = OpSpec(
    name="centerness_loss",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(1e-12, 1e-14, "sums of at most 1e4 positive numbers, unit roundoff 1.1e-16"),
        torch.float32: Tolerance(2e-6, 2e-7, "sums of positive numbers in many parts; differences p - y for gradients"),
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
