"""Runs an operator forward and backward, and compares it with the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .spec import OpSpec, Sample


@dataclass(frozen=True)
class Results:
    """Outputs of a call, and the gradients of its floating tensor arguments (None where there is none)."""

    outputs: list[Tensor]
    gradients: list[Tensor | None]

    def named(self) -> list[tuple[str, Tensor | None]]:
        """All tensors, with names for messages."""
        outputs: list[tuple[str, Tensor | None]] = [(f"output {i}", t) for i, t in enumerate(self.outputs)]
        return outputs + [(f"gradient {i}", t) for i, t in enumerate(self.gradients)]


def _leaf(tensor: Tensor) -> Tensor:
    """The same values and strides, as a leaf that asks for a gradient where it can have one."""
    leaf = tensor.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _weights(output: Tensor) -> Tensor:
    """Fixed weights in [0.5, 1.5) for the sum whose gradient is taken; the same for every backend."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(output.shape, generator=generator, dtype=torch.float64) + 0.5
    return weights.to(output.device, output.dtype)


def run(function: Callable[..., Any], sample: Sample, **options: Any) -> Results:
    """Call `function` on a sample and take the gradients of a weighted sum of its floating outputs."""
    args = [_leaf(arg) if isinstance(arg, Tensor) else arg for arg in sample.args]
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


def _check_tensor(spec: OpSpec, what: str, actual: Tensor | None, like: Tensor | None, exact: Tensor | None) -> None:
    """`like` is the reference's result for the same dtypes, `exact` its result in float64."""
    if actual is None or like is None or exact is None:
        assert actual is None and like is None, f"{what}: is None in one of the two"
        return
    assert actual.dtype == like.dtype, f"{what}: expected {like.dtype}, got {actual.dtype}"
    assert actual.shape == like.shape, f"{what}: expected {list(like.shape)}, got {list(actual.shape)}"
    if not actual.is_floating_point():
        assert torch.equal(actual, like), f"{what}: differs"
        return
    tolerance = spec.tolerances[actual.dtype]
    largest = exact.abs().max().item() if exact.numel() else 0.0
    limits = torch.finfo(actual.dtype)
    smallest = limits.smallest_normal * limits.eps  # the spacing of subnormal numbers, which round to no closer
    torch.testing.assert_close(
        actual.double(),
        exact,
        rtol=tolerance.relative,
        atol=tolerance.of_largest * largest + smallest,
        msg=lambda message: f"{what}: {message}\n{tolerance}",
    )


def check_sample(spec: OpSpec, backend: str, sample: Sample) -> None:
    """Raise AssertionError unless a backend agrees with the reference on a sample, gradients included."""
    actual = run(spec.op, sample, backend=backend).named()
    like = run(spec.reference, sample).named()
    exact = run(spec.reference, in_float64(sample)).named()
    assert len(actual) == len(like) == len(exact)
    for (name, tensor), (_, tensor_like), (_, tensor_exact) in zip(actual, like, exact, strict=True):
        _check_tensor(spec, f"{spec.name}, {backend}, {sample.name}, {name}", tensor, tensor_like, tensor_exact)


def check(spec: OpSpec, backend: str, device: torch.device) -> None:
    """`check_sample` on every sample of every dtype."""
    for dtype in spec.dtypes:
        if dtype == torch.float64 and device.type != "cpu":
            continue
        for sample in spec.samples(dtype, device):
            check_sample(spec, backend, sample)
