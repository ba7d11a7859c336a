"""`dice_loss` beyond what the OpSpec driver does: values by hand, half precision in full, errors of its own."""

from __future__ import annotations

import pytest
import torch

from condinst.ops import dice_loss
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("dice_loss"))


@each_backend
def test_values_by_hand(backend: str) -> None:
    masks = torch.tensor([[0.5, 1.0, 0.0, 0.25], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    targets = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]], dtype=torch.bool)
    losses = dice_loss(masks, targets, eps=1e-12, reduction="none", backend=backend)
    # first: overlap 1.5, squares 0.25 + 1 + 0.0625 + 2; then a perfect and a disjoint mask
    torch.testing.assert_close(losses, torch.tensor([1 - 3 / 3.3125, 0.0, 1.0]))


@each_backend
def test_gradient_by_hand(backend: str) -> None:
    # loss(m) = 1 - 2 m / (m^2 + 1 + eps), so loss'(m) = 2 (m^2 - 1 - eps) / (m^2 + 1 + eps)^2
    mask = torch.tensor([[0.5]], requires_grad=True)
    dice_loss(mask, torch.tensor([[True]]), eps=0.75, backend=backend).backward()
    assert mask.grad is not None
    torch.testing.assert_close(mask.grad, torch.tensor([[2 * (0.25 - 1.75) / 4]]))


@each_backend
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_no_masks_keeps_the_graph(backend: str, reduction: str) -> None:
    masks = torch.rand(0, 5, 5, requires_grad=True)
    loss = dice_loss(masks, torch.zeros(0, 5, 5), reduction=reduction, backend=backend)
    assert loss.item() == 0
    loss.backward()
    assert masks.grad is not None and masks.grad.shape == masks.shape


@each_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_half_precision_number_is_read_right(backend: str, dtype: torch.dtype) -> None:
    """One mask for each of the 65536 bit patterns, infinities and NaN among them."""
    masks = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)[:, None]
    overflows = masks.isfinite() & (masks.abs() > 2.0**63)  # squared in float32, where the reference is not defined
    masks = masks.where(~overflows, 1.0)
    ones = torch.ones(masks.shape, dtype=torch.bool)
    expected = dice_loss(masks.float(), ones, eps=1.0, reduction="none", backend="reference")
    actual = dice_loss(masks, ones, eps=1.0, reduction="none", backend=backend)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6, equal_nan=True)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_are_rounded_to_nearest(backend: str, dtype: torch.dtype) -> None:
    """With masks of 0 the gradient is -2 g t / (t^2 + eps): normal, subnormal, huge and tiny ones, by targets."""
    targets = torch.logspace(-12, 6, 40_000, dtype=torch.float32)[:, None]
    masks = torch.zeros(targets.shape, dtype=dtype, requires_grad=True)
    dice_loss(masks, targets, eps=1.0, reduction="sum", backend=backend).backward()
    wide = masks.detach().float().requires_grad_()
    dice_loss(wide, targets, eps=1.0, reduction="sum", backend="reference").backward()
    assert masks.grad is not None and wide.grad is not None
    expected = wide.grad.to(dtype)
    # Equal but for a rare tie that the last float32 bit decides: at most one unit in the last place, in 1 of 1000.
    steps = (masks.grad.view(torch.int16).int() - expected.view(torch.int16).int()).abs()
    assert steps.max() <= 1 and (steps > 0).float().mean() < 1e-3


def test_second_derivative_is_refused_by_the_native_backend() -> None:
    masks = torch.rand(2, 9, requires_grad=True)
    (grad,) = torch.autograd.grad(dice_loss(masks, torch.ones(2, 9), backend="cpp"), masks, create_graph=True)
    with pytest.raises(NotImplementedError, match="dice_loss: .*backend='reference'"):
        grad.sum().backward()


def test_second_derivative_of_the_reference() -> None:
    masks = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(2, 9, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda m: dice_loss(m, targets, backend="reference"), masks)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.rand(2, 3), torch.rand(2, 4), 1e-5), "targets: expected the shape of masks"),
        ((torch.ones(2, 3, dtype=torch.uint8), torch.rand(2, 3), 1e-5), "masks: expected a floating dtype"),
        ((torch.rand(2, 3), torch.ones(2, 3, dtype=torch.int64), 1e-5), "expected dtype bool, uint8"),
    ],
)
def test_defensive_checks(args: tuple[object, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.dice_loss(*args)


@pytest.mark.inductor
def test_compiles_through_inductor() -> None:
    masks = torch.rand(4, 33, 7, requires_grad=True)
    targets = torch.rand(4, 33, 7) > 0.5

    def loss(m: torch.Tensor) -> torch.Tensor:
        return dice_loss(m.sigmoid(), targets, backend="cpp")

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True)(masks)
    (grad,) = torch.autograd.grad(compiled, masks)
    expected = loss(masks)
    (expected_grad,) = torch.autograd.grad(expected, masks)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(grad, expected_grad)
