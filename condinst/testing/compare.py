"""Runs an operator forward and backward, and compares it with the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .spec import OpSpec, Sample, Tolerance


@dataclass(frozen=True)
class Results:
    """Outputs of a call, and the gradients of its differentiable arguments (None where there is none)."""

    outputs: list[Tensor]
    gradients: list[Tensor | None]

    def named(self) -> list[tuple[str, Tensor | None]]:
        """All tensors, with names for messages."""
        outputs: list[tuple[str, Tensor | None]] = [(f"output {i}", t) for i, t in enumerate(self.outputs)]
        return outputs + [(f"gradient {i}", t) for i, t in enumerate(self.gradients)]


def _weights(output: Tensor) -> Tensor:
    """Fixed weights in [0.5, 1.5) for the sum whose gradient is taken; the same for every backend and dtype.

    They are multiples of 1/128, which every dtype represents exactly. So the kernels and the reference in float64 get
    the same gradient.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(128, output.shape, generator=generator, dtype=torch.float64) / 128 + 0.5
    return weights.to(output.device, output.dtype)


def run(spec: OpSpec, function: Callable[..., Any], sample: Sample, **options: Any) -> Results:
    """Call `function` on a sample and take the gradients of a weighted sum of its floating outputs."""
    args = spec.with_gradients(sample.args)
    returned = function(*args, **sample.kwargs, **options)
    outputs = list(returned) if isinstance(returned, tuple) else [returned]
    leaves = [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]
    scalars = [(output * _weights(output)).sum() for output in outputs if output.requires_grad]
    gradients: list[Tensor | None] = []
    if scalars:
        gradients = list(torch.autograd.grad(sum(scalars[1:], scalars[0]), leaves, allow_unused=True))
    return Results([output.detach() for output in outputs], gradients)


def in_float64(sample: Sample) -> Sample:
    """The same call with every floating tensor in float64."""
    args = tuple(arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg for arg in sample.args)
    return Sample(sample.name, args, sample.kwargs)


def check_tensor(tolerance: Tolerance, what: str, actual: Tensor, exact: Tensor) -> None:
    """Raise AssertionError, beginning with `what`, unless a tensor is as close as asked to the exact one.

    What is beyond the numbers of the tensor's dtype is infinite in it.
    """
    largest = exact.nan_to_num().abs().max().item() if exact.numel() else 0.0
    limits = torch.finfo(actual.dtype)
    smallest = limits.smallest_normal * limits.eps  # the spacing of subnormal numbers, which round to no closer
    atol = tolerance.absolute + tolerance.of_largest * largest + smallest
    actual, exact = actual.double(), exact.double()
    overflows = exact.abs() * (1 + tolerance.relative) + atol > limits.max
    exact = torch.where(overflows & (actual == exact.sign() * torch.inf), actual, exact)
    torch.testing.assert_close(
        actual,
        exact,
        rtol=tolerance.relative,
        atol=atol,
        equal_nan=True,
        msg=lambda message: f"{what}: {message}\n{tolerance}",
    )


def check_sample(spec: OpSpec, backend: str, sample: Sample) -> None:
    """Raise AssertionError unless a backend agrees with the reference on a sample, gradients included."""
    actual = run(spec, spec.op, sample, backend=backend)
    like = run(spec, spec.reference, sample)
    exact = run(spec, spec.reference, in_float64(sample))
    num_outputs = len(actual.outputs)
    rows = list(zip(actual.named(), like.named(), exact.named(), strict=True))
    for index, ((name, tensor), (_, tensor_like), (_, tensor_exact)) in enumerate(rows):
        what = f"{spec.name}, {backend}, {sample.name}, {name}"
        if tensor is None or tensor_like is None or tensor_exact is None:
            assert tensor is None and tensor_like is None, f"{what}: is None in one of the two"
            continue
        assert tensor.dtype == tensor_like.dtype, f"{what}: expected {tensor_like.dtype}, got {tensor.dtype}"
        assert tensor.shape == tensor_like.shape, f"{what}: expected {tensor_like.shape}, got {tensor.shape}"
        if not tensor.is_floating_point():
            assert torch.equal(tensor, tensor_like), f"{what}: differs"
            continue
        check_tensor(spec.tolerance(tensor.dtype, gradient=index >= num_outputs), what, tensor, tensor_exact)


def check(spec: OpSpec, backend: str, device: torch.device) -> None:
    """`check_sample` on every sample of every dtype."""
    for dtype in spec.dtypes:
        if dtype == torch.float64 and device.type != "cpu":
            continue
        for sample in spec.samples(dtype, device):
            check_sample(spec, backend, sample)
