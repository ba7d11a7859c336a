"""`sigmoid_focal_loss` beyond what the OpSpec driver does: torchvision, values by hand, memory, repeated backward."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch.nn import functional as F

from condinst.benchmarking.memory import MIB, allocator_peak_mib
from condinst.ops import sigmoid_focal_loss
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("sigmoid_focal_loss"))
# The reference takes 1 - p, and powers of 0.
each_kernel = pytest.mark.parametrize("backend", cpu_backends_of("sigmoid_focal_loss", without="reference"))


@each_backend
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.75, 1.0), (0.9, 1.5), (0.25, 3.0)])
def test_torchvision(backend: str, alpha: float, gamma: float, reduction: str) -> None:
    logits = (torch.randn(50, 7, dtype=torch.float64) * 4).requires_grad_()
    labels = torch.randint(8, (50,))
    one_hot = F.one_hot(labels, 8)[:, :7].double()
    expected = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha, gamma, reduction)
    ours = sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=gamma, reduction=reduction, backend=backend)
    torch.testing.assert_close(ours, expected)
    weights = torch.rand_like(expected)
    gradients = [torch.autograd.grad((loss * weights).sum(), logits)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients)


@each_backend
def test_values_by_hand(backend: str) -> None:
    # sigmoid(log 3) = 3/4; the class of the first row is 1, the second row is background
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]])
    losses = sigmoid_focal_loss(logits, torch.tensor([1, 2]), alpha=0.25, reduction="none", backend=backend)
    half, right, wrong = 0.75 / 4 * math.log(2), 0.25 / 16 * math.log(4 / 3), 0.75 * 9 / 16 * math.log(4)
    torch.testing.assert_close(losses, torch.tensor([[half, right], [wrong, half]]))


@each_kernel
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 2.5])
def test_large_logits(backend: str, gamma: float) -> None:
    """Of the wrong sign, the loss is linear; of the right one, it is nothing. Nothing overflows."""
    logits = torch.tensor([[200.0, -200.0, 0.0], [3e38, -3e38, 0.0]], requires_grad=True)
    labels = torch.tensor([1, 0])
    losses = sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=gamma, reduction="none", backend=backend)
    expected = torch.tensor([[0.75 * 200.0, 0.25 * 200.0], [0.0, 0.0]])
    torch.testing.assert_close(losses[:, :2], expected)
    (grad,) = torch.autograd.grad(losses.sum(), logits)
    torch.testing.assert_close(grad[:, :2], torch.tensor([[0.75, -0.25], [0.0, 0.0]]))


@each_kernel
def test_small_losses_are_precise(backend: str) -> None:
    """p^2 log(1 + e^x) is e^3x for very negative x, and not 0."""
    logits = torch.linspace(-25, -12, 40)[:, None]
    losses = sigmoid_focal_loss(logits, torch.ones(40, dtype=torch.int64), alpha=0.0, reduction="none", backend=backend)
    p = logits.double().sigmoid()
    torch.testing.assert_close(losses.double(), p * p * -torch.log1p(-p), rtol=2e-6, atol=0.0)


@each_backend
def test_nan_stays_where_it_is(backend: str) -> None:
    logits = torch.zeros(3, 5)
    logits[1, 2] = torch.nan
    losses = sigmoid_focal_loss(logits, torch.tensor([5, 2, 0]), reduction="none", backend=backend)
    assert torch.equal(losses.isnan(), logits.isnan())


@each_kernel
def test_labels_out_of_range_are_background(backend: str) -> None:
    """`condinst.ops` refuses them on the CPU, but cannot look at them on a GPU; the kernels read nothing outside."""
    namespace = torch.ops.condinst_triton if backend == "triton" else torch.ops.condinst
    logits = torch.randn(7, 5)
    labels = torch.tensor([5, 6, -1, 2**40, -(2**40), 2**62, -(2**63)])
    expected, _ = namespace.sigmoid_focal_loss(logits, torch.full((7,), 5), 0.25, 2.0, False, False)
    losses, _ = namespace.sigmoid_focal_loss(logits, labels, 0.25, 2.0, False, False)
    assert torch.equal(losses, expected)


@each_backend
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_no_logits_keep_the_graph(backend: str, reduction: str, shape: tuple[int, int]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    labels = torch.zeros(shape[0], dtype=torch.int64)
    loss = sigmoid_focal_loss(logits, labels, reduction=reduction, backend=backend)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None and logits.grad.shape == shape


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_backward_twice(backend: str, dtype: torch.dtype, reduction: str) -> None:
    """The first backward pass gives its memory away; the second must make the gradient again."""
    logits = torch.randn(40, 9).to(dtype).requires_grad_()
    losses = sigmoid_focal_loss(logits, torch.randint(10, (40,)), reduction=reduction, backend=backend)
    scale = torch.rand_like(losses)
    (first,) = torch.autograd.grad(losses, logits, scale, retain_graph=True)
    kept = first.clone()
    first.zero_()  # it belongs to the caller
    (second,) = torch.autograd.grad(losses, logits, scale, retain_graph=True)
    (third,) = torch.autograd.grad(losses, logits, scale)
    assert kept.abs().sum() > 0
    assert torch.equal(second, kept) and torch.equal(third, kept)


def test_a_small_scale_does_not_underflow_in_half_precision() -> None:
    """Unscaled gradients of float16 would be rounded to 0 and then multiplied."""
    logits = torch.full((4, 4), -5.0, dtype=torch.float16, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.full((4,), 4), backend="cpp") * 2.0**16
    (grad,) = torch.autograd.grad(loss, logits)
    wide = logits.detach().double().requires_grad_()
    expected = sigmoid_focal_loss(wide, torch.full((4,), 4), backend="reference") * 2.0**16
    torch.testing.assert_close(grad.double(), torch.autograd.grad(expected, wide)[0], rtol=2**-11 + 2e-6, atol=0.0)


def test_the_gradient_is_the_only_copy_of_the_logits() -> None:
    logits = torch.randn(3000, 80, requires_grad=True)
    labels = torch.randint(81, (3000,))

    def train() -> object:
        return torch.autograd.grad(sigmoid_focal_loss(logits, labels, backend="cpp") * 0.5, logits)

    train()
    assert allocator_peak_mib(train, torch.device("cpu")) < 1.01 * logits.nbytes / MIB


def test_second_derivative_is_refused_by_the_native_backend() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 1, 2, 3]), backend="cpp")
    (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="sigmoid_focal_loss: .*backend='reference'"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.rand(2, 3, 4), torch.zeros(2, dtype=torch.int64)), r"logits: expected \[N, C\]"),
        ((torch.rand(2, 3), torch.zeros(3, dtype=torch.int64)), r"labels: expected \[N\] of int64"),
        ((torch.rand(2, 3), torch.zeros(2, dtype=torch.int32)), r"labels: expected \[N\] of int64"),
    ],
)
def test_defensive_checks(args: tuple[torch.Tensor, torch.Tensor], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.sigmoid_focal_loss(*args, 0.25, 2.0, True, False)
    logits = torch.rand(2, 3)
    with pytest.raises(RuntimeError, match="grad_loss: expected the shape"):
        torch.ops.condinst.sigmoid_focal_loss_backward(
            torch.rand(3, 2), logits, torch.zeros(2, dtype=torch.int64), 0.25, 2.0
        )


@pytest.mark.inductor
def test_compiles_through_inductor() -> None:
    logits = torch.randn(33, 7, requires_grad=True)
    labels = torch.randint(8, (33,))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(x * 2, labels, backend="cpp") / 3

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)(logits)
    (grad,) = torch.autograd.grad(compiled, logits)
    expected = loss(logits)
    (expected_grad,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(grad, expected_grad)
