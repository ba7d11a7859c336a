"""`giou_loss` beyond what the OpSpec driver does: torchvision, values by hand, equal sides, repeated backward."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from condinst.ops import giou_loss
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("giou_loss"))


def boxes_from(distances: Tensor) -> Tensor:
    """(l, t, r, b) round the origin to (x1, y1, x2, y2)."""
    return torch.cat([-distances[:, :2], distances[:, 2:]], dim=1)


@each_backend
def test_torchvision(backend: str) -> None:
    predicted, targets = torch.rand(2, 40, 4, dtype=torch.float64) * 5 + 0.1
    predicted.requires_grad_()
    weights = torch.rand(40, dtype=torch.float64)
    losses = torchvision.ops.generalized_box_iou_loss(boxes_from(predicted), boxes_from(targets), eps=0.0)
    ours = giou_loss(predicted, targets, smooth=False, reduction="none", backend=backend)
    torch.testing.assert_close(ours, losses)
    expected = (losses * weights).sum()
    weighted = giou_loss(predicted, targets, weights, smooth=False, backend=backend)
    torch.testing.assert_close(weighted, expected)
    gradients = [torch.autograd.grad(loss, predicted)[0] for loss in (weighted, expected)]
    torch.testing.assert_close(*gradients)


@each_backend
def test_smoothed_by_hand(backend: str) -> None:
    predicted = torch.tensor([[1.0, 1.0, 1.0, 1.0]])  # area 4
    targets = torch.tensor([[2.0, 1.0, 2.0, 1.0]])  # area 8 round it, so the hull is the union
    assert giou_loss(predicted, targets, backend=backend).item() == pytest.approx(1 - 5 / 9)


@each_backend
def test_gradient_where_sides_are_equal(backend: str) -> None:
    """Half of it goes through the smaller, half through the larger of two equal numbers, as in PyTorch.

    With width w and height 2 on a box of 2 x 2, and U = 4: from below, d loss/dw = -2 / 5 (smoothed), as I grows and G
    does not; from above, 2 * 5 / 25 (from U in the IoU), as G grows with U. Their mean is 0.
    """
    predicted = torch.full((1, 4), 1.0, requires_grad=True)
    targets = torch.ones(1, 4)
    (grad,) = torch.autograd.grad(giou_loss(predicted, targets, backend=backend), predicted)
    torch.testing.assert_close(grad, torch.zeros(1, 4))
    # only l is equal; the other sides of the prediction are longer, so that I = 4, U = G = 3 * 3
    predicted = torch.tensor([[1.0, 1.0, 2.0, 2.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(giou_loss(predicted, targets, backend=backend), predicted)
    inside = 0.5 * 2 * (-1 / 10 - (5 / 100 - 1 / 9))
    expected = 3 * (5 / 100 - 1 / 9) + inside + 0.5 * 3 / 9
    longer = 3 * (5 / 100 - 1 / 9) + 3 / 9
    torch.testing.assert_close(grad, torch.tensor([[expected, expected, longer, longer]]))


@each_backend
def test_boxes_without_area(backend: str) -> None:
    """A prediction without area has a loss and a gradient; two boxes without area have none, and no other has NaN."""
    predicted = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 1.0, 2.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    losses = giou_loss(predicted, targets, reduction="none", backend=backend)
    assert losses.isnan().tolist() == [False, True, False]
    assert losses[0].item() == pytest.approx(0.8)  # I = 0, U = G = 4: 1 - 1/5
    (grad,) = torch.autograd.grad(losses.sum(), predicted)
    assert grad.isnan().any(1).tolist() == [False, True, False]


@each_backend
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_nothing_has_a_gradient(backend: str, reduction: str) -> None:
    predicted = torch.zeros(0, 4, requires_grad=True)
    loss = giou_loss(predicted, torch.zeros(0, 4), torch.zeros(0), reduction=reduction, backend=backend)
    assert loss.item() == 0
    loss.backward()
    assert predicted.grad is not None and predicted.grad.shape == (0, 4)


@each_backend
def test_targets_and_weights_have_no_gradient(backend: str) -> None:
    predicted, targets = torch.rand(3, 4, requires_grad=True), torch.rand(3, 4, requires_grad=True)
    weights = torch.rand(3, requires_grad=True)
    giou_loss(predicted, targets, weights, backend=backend).backward()
    assert predicted.grad is not None and targets.grad is None and weights.grad is None


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_backward_twice(backend: str, dtype: torch.dtype, reduction: str) -> None:
    predicted = (torch.rand(30, 4) + 0.1).to(dtype).requires_grad_()
    losses = giou_loss(predicted, torch.rand(30, 4) + 0.1, torch.rand(30), reduction=reduction, backend=backend)
    scale = torch.rand_like(losses)
    (first,) = torch.autograd.grad(losses, predicted, scale, retain_graph=True)
    kept = first.clone()
    first.zero_()  # it belongs to the caller
    (second,) = torch.autograd.grad(losses, predicted, scale)
    assert kept.abs().sum() > 0 and torch.equal(second, kept)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.rand(3, 5), torch.rand(3, 5), None), r"predicted: expected \[N, 4\]"),
        ((torch.rand(3, 4), torch.rand(2, 4), None), r"targets: expected \[N, 4\]"),
        ((torch.rand(3, 4), torch.rand(3, 4).half(), None), "targets: expected the dtype of the loss"),
        ((torch.rand(3, 4), torch.rand(3, 4), torch.rand(2)), r"weights: expected \[N\]"),
    ],
)
def test_defensive_checks(args: tuple[Tensor, Tensor, Tensor | None], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.condinst.giou_loss(*args, True, True, False)
