"""Training with the kernels takes the same course as with the reference: losses of 20 steps, and the weights after."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condinst import use_backend

from .tiny import make_image, make_model, make_target

STEPS = 20
LEARNING_RATE = 1e-3
LARGEST_ERROR = 2e-5
"""Relative. Usual are 3e-7 for losses and 2e-6 for how far the weights moved, with AVX-512 and with AVX2.

Training is chaotic: with batch norm in the backbone and a rate of 0.01, the losses of two runs of the reference whose
first weights differ by 1e-7 are 0.1 apart after 20 steps. So the norm is FrozenBN, as in AdelaiDet, and the rate lower.

With ReLU, the sign of a single value near 0 depends on rounding, and so on the CPU. One such value in step 3 put two
runs of the reference 2e-3 apart. So the network has SiLU in its place; the ReLU of the mask head stays, which is a part
of what is compared.
"""

SIZE = (96, 128)
BOXES = [
    [(4, 6, 40, 52), (30, 20, 118, 90), (60, 2, 76, 18), (8, 60, 30, 94)],
    [(50, 10, 122, 60), (2, 2, 20, 34), (24, 40, 64, 88)],
]


def _make_smooth(model: nn.Module) -> None:
    """Replaces each ReLU."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.SiLU())


def _train(backend: str, **overrides: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of each step [20, number of losses], all weights in the end, and how far they moved."""
    model = make_model(backbone_norm="FrozenBN", **overrides).train()
    _make_smooth(model)
    images = [make_image(*SIZE, seed=seed) for seed in (1, 2)]
    targets = [make_target(*SIZE, boxes) for boxes in BOXES]
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().double()
    course = []
    for _ in range(STEPS):
        with use_backend(backend):
            losses = torch.stack(list(model(images, targets, resize=False).values()))
            optimizer.zero_grad()
            losses.sum().backward()
        optimizer.step()
        course.append(losses.detach())
    after = torch.nn.utils.parameters_to_vector(model.parameters()).detach().double()
    return torch.stack(course), after, after - before


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask_loss_locations": "all"},
        {"mask_loss_locations": "top", "mask_loss_top_per_image": 16},
        {"mask_loss_locations": "all", "semantic_loss": True, "box_quality": "iou", "mask_output_stride": 2},
    ],
    ids=["all", "top", "semantic"],
)
def test_kernels_train_as_the_reference(overrides: dict[str, Any]) -> None:
    losses, *weights = _train("auto", **overrides)
    expected_losses, *expected_weights = _train("reference", **overrides)
    assert expected_losses.isfinite().all()
    assert expected_losses[-1].sum() < 0.9 * expected_losses[0].sum()  # it learns: the weights did move
    torch.testing.assert_close(losses, expected_losses, rtol=LARGEST_ERROR, atol=0)
    for actual, expected in zip(weights, expected_weights, strict=True):
        assert (actual - expected).norm() <= LARGEST_ERROR * expected.norm()
