"""`sigmoid_focal_loss` and `giou_loss` against torchvision's."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch.nn import functional as F

from condinst import ops


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)])
def test_sigmoid_focal_loss(alpha: float, gamma: float, reduction: str) -> None:
    logits = torch.randn(50, 7, dtype=torch.float64) * 4
    labels = torch.randint(8, (50,))
    one_hot = F.one_hot(labels, 8)[:, :7].double()
    expected = torchvision.ops.sigmoid_focal_loss(logits, one_hot, alpha, gamma, reduction)
    ours = ops.sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=gamma, reduction=reduction)
    torch.testing.assert_close(ours, expected)


def test_sigmoid_focal_loss_of_large_logits_is_finite() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def boxes_from(distances: torch.Tensor) -> torch.Tensor:
    """(l, t, r, b) round the origin to (x1, y1, x2, y2)."""
    return torch.cat([-distances[:, :2], distances[:, 2:]], dim=1)


def test_giou_loss() -> None:
    predicted, targets = torch.rand(2, 40, 4, dtype=torch.float64) * 5 + 0.1
    expected = torchvision.ops.generalized_box_iou_loss(boxes_from(predicted), boxes_from(targets), eps=0.0)
    torch.testing.assert_close(ops.giou_loss(predicted, targets, smooth=False, reduction="none"), expected)
    weights = torch.rand(40, dtype=torch.float64)
    weighted = ops.giou_loss(predicted, targets, weights, smooth=False)
    torch.testing.assert_close(weighted, (expected * weights).sum())


def test_smoothed_giou_loss_by_hand() -> None:
    predicted = torch.tensor([[1.0, 1.0, 1.0, 1.0]])  # area 4
    targets = torch.tensor([[2.0, 1.0, 2.0, 1.0]])  # area 8 round it, so the hull is the union
    assert ops.giou_loss(predicted, targets).item() == pytest.approx(1 - 5 / 9)


def test_giou_loss_of_nothing_has_a_gradient() -> None:
    predicted = torch.zeros(0, 4, requires_grad=True)
    ops.giou_loss(predicted, torch.zeros(0, 4)).backward()
    assert predicted.grad is not None


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"labels: expected shape \[3\], got \[2\]"):
        ops.sigmoid_focal_loss(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(TypeError, match="labels: expected dtype int64"):
        ops.sigmoid_focal_loss(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match=r"predicted: expected shape \[2, 4\]"):
        ops.giou_loss(torch.zeros(2, 5), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="reduction: expected one of sum, mean, none"):
        ops.giou_loss(torch.zeros(2, 4), torch.zeros(2, 4), reduction="max")
