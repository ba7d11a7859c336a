"""How to test and time `condinst.ops.dice_loss`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst.testing.spec import BadInput, OpSpec, Sample, Tolerance


def _masks(dtype: torch.dtype, device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def _targets(device: torch.device, *shape: int, seed: int = 1) -> Tensor:
    return _masks(torch.float64, device, *shape, seed=seed) > 0.6


def _samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    def masks(*shape: int) -> Tensor:
        return _masks(dtype, device, *shape)

    def targets(*shape: int) -> Tensor:
        return _targets(device, *shape)

    none = {"reduction": "none"}
    # float64 is for the CPU only
    wide = [Sample("float64 targets", (masks(2, 7, 9), _masks(torch.float64, device, 2, 7, 9, seed=2)), none)]
    big = masks(3, 150, 151)  # more than one chunk of each kernel, and a remainder
    return [
        Sample("one mask", (masks(1, 63, 63), targets(1, 63, 63))),
        Sample("one element", (masks(1, 1), targets(1, 1))),
        Sample("uint8 targets", (masks(3, 100), targets(3, 100).to(torch.uint8)), {"reduction": "sum"}),
        Sample("floating targets", (masks(5, 1000), _masks(dtype, device, 5, 1000, seed=2)), none),
        Sample("float32 targets", (masks(2, 7, 9), _masks(torch.float32, device, 2, 7, 9, seed=2)), none),
        *(wide if device.type == "cpu" else []),
        Sample("bfloat16 targets", (masks(2, 7, 9), _masks(torch.bfloat16, device, 2, 7, 9, seed=2)), none),
        Sample("chunks", (big, targets(3, 150, 151)), none),
        Sample("sliced", (big[1:, ::2, 3:], targets(3, 150, 151)[1:, ::2, 3:]), none),
        Sample("transposed", (big.transpose(1, 2), targets(3, 151, 150)), none),
        Sample("expanded targets", (masks(4, 17, 3), targets(1, 17, 3).expand(4, 17, 3))),
        Sample("five dimensions", (masks(2, 3, 4, 5, 6), targets(2, 3, 4, 5, 6))),
        Sample("nothing on nothing", (masks(2, 33) * 0, targets(2, 33) & False), none),
        Sample("other eps", (masks(2, 33), targets(2, 33)), {"eps": 1.0}),
        Sample("empty maps", (masks(2, 0, 5), targets(2, 0, 5)), none),
        *(
            Sample(f"no masks, {reduction}", (masks(0, 63, 63), targets(0, 63, 63)), {"reduction": reduction})
            for reduction in ("mean", "sum", "none")
        ),
    ]


def _small_samples(device: torch.device) -> list[Sample]:
    masks = _masks(torch.float64, device, 3, 4, 5)
    return [
        Sample("bool targets", (masks, _targets(device, 3, 4, 5)), {"reduction": "none"}),
        Sample("floating targets", (masks, _masks(torch.float64, device, 3, 4, 5, seed=2)), {"reduction": "mean"}),
    ]


def _native_calls(device: torch.device) -> list[tuple[str, tuple[Any, ...]]]:
    masks = _masks(torch.float32, device, 4, 6, 8)
    targets = _targets(device, 4, 6, 8)
    pairs = [
        (masks, targets),
        (masks.half(), masks.flip(0)),
        (masks[1:, ::2], targets[1:, ::2]),
        (masks.transpose(0, 2), targets.transpose(0, 2)),
        (masks[:0], targets[:0]),
        (masks[:, :0], targets[:, :0]),
    ]
    calls: list[tuple[str, tuple[Any, ...]]] = []
    for m, t in pairs:
        calls.append(("dice_loss", (m, t, 1e-5)))
        calls.append(("dice_loss", (m.detach().requires_grad_(), t, 1e-5)))
        count = m.shape[0]
        grad, sums = torch.rand(count, device=device), torch.rand(count, 2, device=device) + 1
        calls.append(("dice_loss_backward", (grad, sums, m, t)))
    return calls


def _bad_inputs() -> list[BadInput]:
    masks, targets = torch.rand(2, 3, 4), torch.ones(2, 3, 4)
    return [
        BadInput("list", ([0.5], targets), {}, TypeError, "masks: expected a tensor, got list"),
        BadInput("int masks", (masks.int(), targets), {}, TypeError, "masks: expected dtype .*got int32"),
        BadInput("int targets", (masks, targets.long()), {}, TypeError, "targets: expected dtype .*got int64"),
        BadInput("scalar", (masks[0, 0, 0], targets), {}, ValueError, r"masks: .*2 dimensions, got shape \[\]"),
        BadInput("shape", (masks, targets[:1]), {}, ValueError, r"targets: .*\[2, 3, 4\], got \[1, 3, 4\]"),
        BadInput("device", (masks, targets.to("meta")), {}, ValueError, "targets: expected the device .*got meta"),
        BadInput("sparse", (masks.to_sparse(), targets), {}, ValueError, "masks: expected a dense tensor"),
        BadInput("eps 0", (masks, targets), {"eps": 0.0}, ValueError, "eps: expected a positive .*got 0.0"),
        BadInput("eps text", (masks, targets), {"eps": "1"}, TypeError, "eps: expected a number, got str"),
        BadInput("reduction", (masks, targets), {"reduction": "max"}, ValueError, "reduction: .*got 'max'"),
        BadInput("backend", (masks, targets), {"backend": "gpu"}, ValueError, "backend: expected .*got 'gpu'"),
        BadInput("no such device", (masks, targets), {"backend": "cuda"}, ValueError, "dice_loss: backend 'cuda'"),
    ]


def _benchmark_samples(dtype: torch.dtype, device: torch.device) -> list[Sample]:
    # 128 instances at a quarter of an 800 x 1088 image: one training step of one GPU.
    shape = (128, 200, 272)
    return [Sample("x".join(map(str, shape)), (_masks(dtype, device, *shape), _targets(device, *shape)))]


_FLOAT64_SUMS = "sums of at most 1e5 positive numbers, unit roundoff 1.1e-16"
_CANCELS = "the loss is 1 minus their quotient, which may be near 1, and up to 9 are added"
_FLOAT32_SUMS = "float32 sums of at most 2e4 positive numbers in 16 or more parts"
_ROUNDING = "half a unit in the last place of the result, plus the float32 error before rounding"

SPEC = OpSpec(
    name="dice_loss",
    dtypes=(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    tolerances={
        torch.float64: Tolerance(1e-12, 1e-13, f"{_FLOAT64_SUMS}; {_CANCELS}", absolute=36 * 2**-53),
        torch.float32: Tolerance(2e-6, 2e-6, f"{_FLOAT32_SUMS}; {_CANCELS}", absolute=36 * 2**-24),
    },
    gradient_tolerances={
        torch.float64: Tolerance(1e-12, 1e-13, _FLOAT64_SUMS),
        torch.float32: Tolerance(2e-6, 2e-6, _FLOAT32_SUMS),
        torch.float16: Tolerance(2**-11 + 2e-6, 2e-6, _ROUNDING),
        torch.bfloat16: Tolerance(2**-8, 2e-6, _ROUNDING),
    },
    samples=_samples,
    small_samples=_small_samples,
    native_calls=_native_calls,
    bad_inputs=_bad_inputs,
    benchmark_samples=_benchmark_samples,
)
