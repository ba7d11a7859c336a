"""`centerness_loss` beyond what the OpSpec driver does: PyTorch's own loss, extreme logits, repeated backward."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from condinst.ops import centerness_loss
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("centerness_loss"))


@each_backend
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_pytorch(backend: str, reduction: str) -> None:
    logits = (torch.randn(60, dtype=torch.float64) * 4).requires_grad_()
    targets = torch.rand(60, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)
    ours = centerness_loss(logits, targets, reduction=reduction, backend=backend)
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


@each_backend
def test_values_by_hand(backend: str) -> None:
    # sigmoid(log 3) = 3/4
    logits = torch.tensor([0.0, math.log(3), -math.log(3)], requires_grad=True)
    losses = centerness_loss(logits, torch.tensor([0.3, 1.0, 1.0]), reduction="none", backend=backend)
    torch.testing.assert_close(losses, torch.tensor([math.log(2), math.log(4 / 3), math.log(4)]))
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    torch.testing.assert_close(grad, torch.tensor([0.2, -0.25, -0.75]))


@each_backend
def test_large_logits(backend: str) -> None:
    logits = torch.tensor([-200.0, 200.0, -3e38, 3e38], requires_grad=True)
    losses = centerness_loss(logits, torch.tensor([1.0, 0.25, 0.0, 1.0]), reduction="none", backend=backend)
    torch.testing.assert_close(losses, torch.tensor([200.0, 150.0, 0.0, 0.0]))
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    torch.testing.assert_close(grad, torch.tensor([-1.0, 0.75, 0.0, 0.0]))


@each_backend
def test_nan_stays_where_it_is(backend: str) -> None:
    logits = torch.tensor([0.0, torch.nan, 1.0] * 9)
    losses = centerness_loss(logits, torch.full((27,), 0.5), reduction="none", backend=backend)
    assert torch.equal(losses.isnan(), logits.isnan())


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_backward_twice(backend: str, dtype: torch.dtype, reduction: str) -> None:
    logits = torch.randn(70).to(dtype).requires_grad_()
    losses = centerness_loss(logits, torch.rand(70), reduction=reduction, backend=backend)
    scale = torch.rand_like(losses)
    (first,) = torch.autograd.grad(losses, logits, scale, retain_graph=True)
    kept = first.clone()
    first.zero_()  # it belongs to the caller
    (second,) = torch.autograd.grad(losses, logits, scale)
    assert kept.abs().sum() > 0 and torch.equal(second, kept)


@each_backend
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_nothing_has_a_gradient(backend: str, reduction: str) -> None:
    logits = torch.zeros(0, requires_grad=True)
    loss = centerness_loss(logits, torch.zeros(0), reduction=reduction, backend=backend)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None and logits.grad.shape == (0,)


def test_defensive_checks() -> None:
    with pytest.raises(RuntimeError, match=r"logits: expected \[N\]"):
        torch.ops.condinst.centerness_loss(torch.rand(2, 3), torch.rand(2), True, False)
    with pytest.raises(RuntimeError, match=r"targets: expected \[N\] of the dtype of the loss"):
        torch.ops.condinst.centerness_loss(torch.rand(2), torch.rand(2).half(), True, False)
