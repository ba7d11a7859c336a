"""Every operator under the transforms of PyTorch: right, or refused with the name of the reference; never 0 by mistake.

What is right is known from ``backward()`` of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from condinst import ops
from condinst.testing import Sample
from condinst.testing.specs import ALL_SPECS
from tests.ops.backends import cpu_backends_of

SPECS = {spec.name: spec for spec in ALL_SPECS}
CASES = [(op, backend) for op in ops.OPERATORS for backend in ("auto", *cpu_backends_of(op))]


class Call:
    """A call as a function of its floating tensors; of those alone that have a gradient, where some have one."""

    def __init__(self, op: str, backend: str) -> None:
        self.op, self.backend = getattr(ops, op), backend
        if op == "aligned_bilinear":  # it has no specification, as it has no kernels
            self.sample, gradients = Sample("maps", (torch.arange(24.0).sin().reshape(2, 3, 4), 2)), None
        else:
            spec, cpu = SPECS[op], torch.device("cpu")
            self.sample = (spec.small_samples(cpu) or spec.samples(torch.float32, cpu))[0]
            gradients = spec.differentiable
        args = self.sample.args
        floating = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.is_floating_point()]
        self.differentiable = gradients is None or bool(gradients)
        self.positions = gradients or floating
        self.inputs = tuple(args[position] for position in self.positions)
        generator = torch.Generator().manual_seed(0)
        self.tangents = tuple(torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5 for x in self.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        args = list(self.sample.args)
        for position, value in zip(self.positions, inputs, strict=True):
            args[position] = value
        result = self.op(*args, **self.sample.kwargs, backend=self.backend)
        return (result,) if isinstance(result, Tensor) else tuple(part for part in result if isinstance(part, Tensor))

    def scalar(self, *inputs: Tensor) -> Tensor:
        """Of second order in the results, so that every argument has second derivatives."""
        total = inputs[0].sum() * 0
        for output in self(*inputs):
            total = total + ((output + 1) ** 2).sum() if output.is_floating_point() else total
        return total

    def batch(self) -> tuple[Tensor, ...]:
        """The inputs, and others, for `torch.func.vmap`."""
        return tuple(torch.stack([x, x + t * 0.1]) for x, t in zip(self.inputs, self.tangents, strict=True))

    def gradients(self, inputs: tuple[Tensor, ...], *, graph: bool = False) -> tuple[Tensor, ...]:
        """Those of the scalar, by ``backward()``; 0 where there is none."""
        grads = torch.autograd.grad(self.scalar(*inputs), inputs, create_graph=graph, allow_unused=True)
        return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True))

    def leaves(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.detach().requires_grad_() for x in inputs)

    def argnums(self) -> tuple[int, ...]:
        return tuple(range(len(self.inputs)))


def along(call: Call, gradients: tuple[Tensor, ...]) -> Tensor:
    """The derivative along the tangents."""
    return torch.stack([(g * t).sum() for g, t in zip(gradients, call.tangents, strict=True)]).sum()


def forward_mode(call: Call) -> Tensor:
    with forward_ad.dual_level():
        duals = (forward_ad.make_dual(x, t) for x, t in zip(call.inputs, call.tangents, strict=True))
        return forward_ad.unpack_dual(call.scalar(*duals)).tangent


def second_by_backward(call: Call) -> tuple[Tensor, ...]:
    leaves = call.leaves(call.inputs)
    product = along(call, call.gradients(leaves, graph=True))
    if not product.requires_grad:
        return tuple(torch.zeros_like(x) for x in leaves)
    grads = torch.autograd.grad(product, leaves, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True))


def forward_over_backward(call: Call) -> tuple[Tensor, ...]:
    return torch.func.jvp(torch.func.grad(call.scalar, call.argnums()), call.inputs, call.tangents)[1]


def tangent_in_backward(call: Call) -> tuple[Tensor, ...]:
    """Gradients are linear in what they start from: the tangent is the gradient for the tangent."""
    leaves = call.leaves(call.inputs)
    total = call.scalar(*leaves)
    with forward_ad.dual_level():
        start = forward_ad.make_dual(torch.ones_like(total), torch.full_like(total, 2))
        grads = torch.autograd.grad(total, leaves, start, allow_unused=True)
        tangents = [None if grad is None else forward_ad.unpack_dual(grad).tangent for grad in grads]
        return tuple(torch.zeros_like(x) if t is None else t for x, t in zip(leaves, tangents, strict=True))


def batch_in_backward(call: Call) -> tuple[Tensor, ...]:
    leaves = call.leaves(call.inputs)
    total = call.scalar(*leaves)
    starts = torch.tensor([1, 2], dtype=total.dtype)
    grads = torch.autograd.grad(total, leaves, starts, is_grads_batched=True, allow_unused=True)
    return tuple(x.new_zeros(2, *x.shape) if g is None else g for x, g in zip(leaves, grads, strict=True))


def compiled(function: Callable[..., Any], *args: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")(*args)


def each_of_batch(call: Call, function: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    results = [function(tuple(x[index] for x in call.batch())) for index in (0, 1)]
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True))


def first(call: Call) -> tuple[Tensor, ...]:
    return call.gradients(call.leaves(call.inputs))


TRANSFORMS: dict[str, tuple[Callable[[Call], Any], Callable[[Call], Any]]] = {
    "jvp": (lambda c: torch.func.jvp(c.scalar, c.inputs, c.tangents)[1], lambda c: along(c, first(c))),
    "forward mode": (forward_mode, lambda c: along(c, first(c))),
    "grad": (lambda c: torch.func.grad(c.scalar, c.argnums())(*c.inputs), first),
    "vmap": (lambda c: torch.func.vmap(c)(*c.batch()), lambda c: each_of_batch(c, lambda inputs: c(*inputs))),
    "vmap of grad": (
        lambda c: torch.func.vmap(torch.func.grad(c.scalar, c.argnums()))(*c.batch()),
        lambda c: each_of_batch(c, lambda inputs: c.gradients(c.leaves(inputs))),
    ),
    "jvp of grad": (forward_over_backward, second_by_backward),
    "second derivative": (second_by_backward, second_by_backward),
    "tangent in backward": (tangent_in_backward, lambda c: tuple(2 * g for g in first(c))),
    "batch in backward": (batch_in_backward, lambda c: tuple(torch.stack([g, 2 * g]) for g in first(c))),
    "compiled jvp": (
        lambda c: compiled(lambda *x: torch.func.jvp(c.scalar, x, c.tangents)[1], *c.inputs),
        lambda c: along(c, first(c)),
    ),
    "compiled grad": (lambda c: compiled(torch.func.grad(c.scalar, c.argnums()), *c.inputs), first),
    "compiled vmap": (
        lambda c: compiled(torch.func.vmap(c), *c.batch()),
        lambda c: each_of_batch(c, lambda inputs: c(*inputs)),
    ),
}
"""From a call to the result, and how the reference gets the same without the transform."""


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("op", "backend"), CASES)
def test_right_or_refused(op: str, backend: str, transform: str) -> None:
    call, reference = Call(op, backend), Call(op, "reference")
    if not call.inputs:
        pytest.skip("no floating argument")
    if not call.differentiable and (backend == "reference" and "vmap" in transform):
        pytest.skip("sizes in the reference depend on values")
    if "compiled" in transform and (backend != "auto" or not call.differentiable):
        pytest.skip("compiled calls go through the same choice of a backend")
    apply, expected = TRANSFORMS[transform]
    try:
        actual = apply(call)
    except NotImplementedError as error:
        assert "backend='reference'" in str(error)
        in_backward = transform in ("second derivative", "tangent in backward")
        assert backend not in ("auto", "reference") or (backend == "auto" and in_backward) or op == "masks_to_rle"
        return
    right = expected(reference)
    parts = (right,) if isinstance(right, Tensor) else right
    assert not call.differentiable or any(part.abs().max() > 1e-9 for part in parts)
    torch.testing.assert_close(actual, right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("op", [op for op in ops.OPERATORS if Call(op, "reference").differentiable])
def test_indices_under_vmap(op: str) -> None:
    """All tensors in the batch, the indices included, whose values cannot be read then."""
    call = Call(op, "auto")
    tensors = {index: arg for index, arg in enumerate(call.sample.args) if isinstance(arg, Tensor)}

    def apply(*values: Tensor) -> Tensor:
        args = list(call.sample.args)
        for index, value in zip(tensors, values, strict=True):
            args[index] = value
        return call.op(*args, **call.sample.kwargs)

    expected = apply(*tensors.values())
    actual = torch.func.vmap(apply)(*(torch.stack([tensor, tensor]) for tensor in tensors.values()))
    torch.testing.assert_close(actual, torch.stack([expected, expected]))


def _constants() -> list[tuple[str, int]]:
    """The floating arguments without a gradient of operators in which others have one."""
    cases = []
    for spec in ALL_SPECS:
        if not spec.differentiable:
            continue
        for position, arg in enumerate(spec.small_samples(torch.device("cpu"))[0].args):
            if isinstance(arg, Tensor) and arg.is_floating_point() and position not in spec.differentiable:
                cases.append((spec.name, position))
    return cases


@pytest.mark.parametrize(("op", "position"), _constants())
def test_a_constant_has_no_derivative_of_zero(op: str, position: int) -> None:
    sample = SPECS[op].small_samples(torch.device("cpu"))[0]

    def scalar(value: Tensor) -> Tensor:
        args = [*sample.args[:position], value, *sample.args[position + 1 :]]
        return getattr(ops, op)(*args, **sample.kwargs).sum()

    value = sample.args[position]
    refused = pytest.raises(NotImplementedError, match=r"^\w+: a constant of this operator, .*backend='reference'")
    with refused:
        torch.func.grad(scalar)(value)
    with refused:
        torch.func.jvp(scalar, (value,), (torch.ones_like(value),))
    with refused, forward_ad.dual_level():
        scalar(forward_ad.make_dual(value, torch.ones_like(value)))
    expected = scalar(value)
    # vmap runs the reference, which adds in another order
    torch.testing.assert_close(torch.func.vmap(scalar)(torch.stack([value, value])), torch.stack([expected, expected]))
    assert torch.func.grad(lambda x: scalar(x.detach()) + x.sum())(value).eq(1).all()


def test_there_are_constants() -> None:
    assert len(_constants()) >= 7
