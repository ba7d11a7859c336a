"""`matrix_nms` by hand and against the formula, pair by pair in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from condinst.ops import matrix_nms, pack_masks
from condinst.ops.mask_nms.spec import Candidates, make_candidates, special_candidates
from tests.ops.backends import cpu_backends_of

from .test_mask_nms import coco_iou

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("matrix_nms"))

CPU = torch.device("cpu")


def by_the_formula(candidates: Candidates, kernel: str, sigma: float) -> list[float]:
    masks, scores, labels, images = candidates
    iou = coco_iou(masks).tolist()

    def f(x: float) -> float:
        return math.exp(-sigma * x**2) if kernel == "gaussian" else 1 - x

    decayed = [0.0] * len(scores)
    groups: dict[tuple[int, int], list[int]] = {}
    valid = [i for i in range(len(scores)) if images[i] >= 0 and not scores[i].isnan()]
    for index in sorted(valid, key=lambda i: (-float(scores[i]), i)):
        groups.setdefault((int(images[index]), int(labels[index])), []).append(index)
    for group in groups.values():
        for place, j in enumerate(group):
            factor = 1.0
            for better, i in enumerate(group[:place]):
                divisor = f(max((iou[k][i] for k in group[:better]), default=0.0))
                factor = min(factor, f(iou[i][j]) / divisor if divisor > 0 else 1.0)
            decayed[j] = float(scores[j]) * factor
    return decayed


@each_backend
@pytest.mark.parametrize(("kernel", "sigma"), [("gaussian", 2.0), ("gaussian", 0.5), ("linear", 2.0)])
def test_formula(backend: str, kernel: str, sigma: float) -> None:
    for candidates in (
        make_candidates(torch.float32, CPU, 60, (13, 22)),
        make_candidates(torch.float32, CPU, 40, (6, 9), num_labels=1, num_images=1),
        special_candidates(torch.float32, CPU),
    ):
        expected = torch.tensor(by_the_formula(candidates, kernel, sigma), dtype=torch.float64)
        actual = matrix_nms(*candidates, kernel=kernel, sigma=sigma, backend=backend)
        # 1 - iou loses digits where masks are almost the same
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=0)


@each_backend
def test_two_masks_by_hand(backend: str) -> None:
    """4 and 6 pixels, 2 of them common: an IoU of 1/4."""
    masks = torch.zeros(2, 1, 80, dtype=torch.bool)
    masks[0, 0, 60:64], masks[1, 0, 62:68] = True, True
    scores, zeros = torch.tensor([0.5, 0.75]), torch.zeros(2, dtype=torch.int64)
    options: dict[str, Any] = {"kernel": "linear", "backend": backend}
    torch.testing.assert_close(matrix_nms(masks, scores, zeros, zeros, **options), torch.tensor([0.375, 0.75]))
    gaussian = matrix_nms(masks, scores, zeros, zeros, sigma=3.0, backend=backend)
    torch.testing.assert_close(gaussian, torch.tensor([0.5 * math.exp(-3 / 16), 0.75]))
    for apart in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        assert torch.equal(matrix_nms(masks, scores, apart, zeros, **options), scores)
        assert torch.equal(matrix_nms(masks, scores, zeros, apart, **options), scores)
        assert matrix_nms(masks, scores, zeros, apart - 1, **options)[apart == 0].item() == 0


@each_backend
def test_duplicates_and_empty_masks(backend: str) -> None:
    """Linear: the second of three equal masks has an f(iou) of 0, by which the third is not divided."""
    masks = torch.ones(5, 3, 3, dtype=torch.bool)
    masks[3:] = False
    scores, zeros = torch.full((5,), 0.5), torch.zeros(5, dtype=torch.int64)
    assert matrix_nms(masks, scores, zeros, zeros, kernel="linear", backend=backend).tolist() == [0.5, 0, 0, 0.5, 0.5]
    expected = torch.tensor([0.5, 0.5 * math.exp(-2), 0.5 * math.exp(-2), 0.5, 0.5])
    torch.testing.assert_close(matrix_nms(masks, scores, zeros, zeros, backend=backend), expected)


@each_backend
def test_never_raises_a_score_and_takes_packed_masks(backend: str) -> None:
    masks, scores, labels, images = make_candidates(torch.float32, CPU, 50, (9, 14), num_labels=1)
    for kernel in ("gaussian", "linear"):
        decayed = matrix_nms(masks, scores, labels, images, kernel=kernel, backend=backend)
        assert (decayed <= scores).all() and (decayed < scores).any()
        packed = matrix_nms(pack_masks(masks), scores, labels, images, kernel=kernel, backend=backend)
        assert torch.equal(decayed, packed)


def test_defensive_checks() -> None:
    zeros = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="kernel: expected gaussian or linear; got 'box'"):
        torch.ops.condinst.matrix_nms(zeros[:, None], torch.zeros(3), zeros, zeros, "box", 2.0)
    with pytest.raises(RuntimeError, match=r"masks: expected \[N, W\] int64"):
        torch.ops.condinst.matrix_nms(zeros, torch.zeros(3), zeros, zeros, "linear", 2.0)
