"""`decode_detections` by hand, and against AdelaiDet's formulation."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst import ops
from condinst.ops import Candidates
from condinst.ops.decode_detections.spec import SIZES, STRIDES, check_margins, decode_inputs
from condinst.testing import Sample

CPU = torch.device("cpu")
ON_HOST = bool(os.environ.get("CONDINST_LIBRARY"))
"""Whether "cpp" is the CUDA code, which is slow there."""

backends = pytest.mark.parametrize("backend", ["reference", "cpp"])


def logit(probability: float) -> float:
    return torch.tensor(probability).double().logit().item()


def decode(logits: Tensor, centerness: Tensor, distances: Tensor, **options: Any) -> Candidates:
    shared = {"level_sizes": list(SIZES), "strides": STRIDES, "score_threshold": 0.3, "top_k": 1000}
    return ops.decode_detections(logits, centerness, distances, **{**shared, **options})


@backends
def test_by_hand(backend: str) -> None:
    """Two levels, two classes: the place of a cell, the box in pixels, the score, the order, and what is left free."""
    logits = torch.full((1, 2 * 3 + 1, 2), -20.0)
    centerness = torch.zeros(1, 7)
    distances = torch.zeros(1, 7, 4)
    logits[0, 5] = torch.tensor([logit(0.9), logit(0.5)])  # cell (1, 2) of the first level: x = 2 * 8 + 4, y = 8 + 4
    logits[0, 6, 1] = logit(0.8)  # the second level: x = y = 8
    centerness[0, 5] = logit(0.4)
    distances[0, 5] = torch.tensor([0.5, 1.0, 2.0, 0.25])
    distances[0, 6] = torch.tensor([1.0, 1.0, 1.0, 3.0])
    found = decode(
        logits, centerness, distances, level_sizes=[(2, 3), (1, 1)], strides=(8, 16), top_k=3, backend=backend
    )
    assert found.counts.tolist() == [3]
    assert found.labels.tolist() == [[0, 1, 1, -1, -1]]  # min(3, 12) and min(3, 2) places
    assert found.location_indices.tolist() == [[5, 5, 6, -1, -1]]
    torch.testing.assert_close(found.scores[0, :3], torch.tensor([0.36, 0.2, 0.4]).sqrt())
    assert found.boxes[0].tolist() == [[16, 4, 36, 14], [16, 4, 36, 14], [-8, -8, 24, 56], [0] * 4, [0] * 4]
    assert found.scores[0, 3:].tolist() == [0, 0]


@backends
def test_equal_scores_at_the_cut(backend: str) -> None:
    """The lower location stays, then the lower class, and all stay in that order."""
    logits = torch.full((2, 51, 3), -9.0)
    logits[:, 3:9] = 2.0
    logits[1, 7, 2] = 3.0
    zeros = torch.zeros(2, 51)
    found = decode(logits, zeros, torch.zeros(2, 51, 4), top_k=5, backend=backend)
    pairs = torch.stack([found.location_indices, found.labels], dim=2)
    assert found.counts.tolist() == [5, 5]
    assert pairs[0, :5].tolist() == [[3, 0], [3, 1], [3, 2], [4, 0], [4, 1]]
    assert pairs[1, :5].tolist() == [[3, 0], [3, 1], [3, 2], [4, 0], [7, 2]]


@backends
def test_thresholds(backend: str) -> None:
    """With centre-ness the product is tested, without it the class alone; what equals the threshold is not above it."""
    logits = torch.full((1, 51, 1), -20.0)
    centerness = torch.full((1, 51), logit(0.5))
    distances = torch.zeros(1, 51, 4)
    logits[0, :3, 0] = torch.tensor([logit(0.4), logit(0.2), logit(0.1)])
    options = {"score_threshold": 0.4, "backend": backend}  # 0.16
    found = decode(logits, centerness, distances, **options)
    assert found.location_indices[0, : found.counts[0]].tolist() == [0]
    found = decode(logits, centerness, distances, **options, threshold_with_centerness=False)
    assert found.location_indices[0, : found.counts[0]].tolist() == [0, 1]
    torch.testing.assert_close(found.scores[0, :2], torch.tensor([0.2, 0.1]).sqrt())
    half = torch.zeros(1, 51, 1)  # sigmoid(0) * sigmoid(0) is 1/4
    assert decode(half, half[..., 0], distances, score_threshold=0.5, backend=backend).counts.tolist() == [0]
    assert decode(half, half[..., 0], distances, score_threshold=0.4999, backend=backend).counts.tolist() == [51]


@backends
@pytest.mark.parametrize("score_threshold", [0.0, 1.0])
def test_all_or_nothing(backend: str, score_threshold: float) -> None:
    found = decode(*decode_inputs(torch.float32, CPU), score_threshold=score_threshold, backend=backend)
    assert found.counts.tolist() == ([0, 0] if score_threshold else [153, 153])
    assert ((found.labels >= 0) == (found.location_indices >= 0)).all()
    assert (found.labels >= 0).sum(dim=1).tolist() == found.counts.tolist()


@backends
def test_logits_that_no_exponential_takes(backend: str) -> None:
    """Probabilities that are subnormal or 0 in float32: 0 is not above a threshold of 0."""
    logits = torch.tensor([-1000.0, -100.0, -80.0, 80.0, 1000.0, float("inf"), -float("inf"), float("nan")])
    found = decode(
        *(logits[None, :, None], torch.full((1, 8), 50.0), torch.zeros(1, 8, 4)),
        level_sizes=[(2, 4)],
        strides=(8,),
        score_threshold=0.0,
        backend=backend,
    )
    assert found.location_indices[0, : found.counts[0]].tolist() == [2, 3, 4, 5]


@backends
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(backend: str, dtype: torch.dtype) -> None:
    inputs = decode_inputs(dtype, CPU)
    narrow = decode(*inputs, top_k=9, backend=backend)
    wide = decode(*(values.float() for values in inputs), top_k=9, backend=backend)
    for one, other in zip(narrow, wide, strict=True):
        assert torch.equal(one, other)


def test_each_image_by_itself_cpp() -> None:
    inputs = decode_inputs(torch.float32, CPU, batch_size=3)
    together = decode(*inputs, top_k=9, backend="cpp")
    for image in range(3):
        alone = decode(*(values[image : image + 1] for values in inputs), top_k=9, backend="cpp")
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one[image], other[0])


@pytest.mark.parametrize(("top_k", "score_threshold"), [(300, 0.05), (300, 0.0), (40, 0.5), (10**6, 0.6)])
def test_bands_that_drop_some_of_their_candidates_cpp(top_k: int, score_threshold: float, keep_threads: None) -> None:
    """Several tasks a level, each with more candidates than it keeps; for any number of threads."""
    sizes = ((60, 80), (30, 40))
    batch_size = 2 if ON_HOST else 20  # so that threads share it
    inputs = decode_inputs(torch.float32, CPU, sizes, batch_size, 20, mean=-2.0)
    options: dict[str, Any] = {"level_sizes": list(sizes), "strides": (8, 16), "score_threshold": score_threshold}
    check_margins(Sample("bands", inputs, options))
    expected = decode(*inputs, **options, top_k=top_k, backend="reference")
    assert (expected.counts >= 2 * min(top_k, 300)).all()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = decode(*inputs, **options, top_k=top_k, backend="cpp")
        assert torch.equal(found.location_indices, expected.location_indices)
        assert torch.equal(found.labels, expected.labels) and torch.equal(found.counts, expected.counts)
        torch.testing.assert_close(found.scores, expected.scores)
        torch.testing.assert_close(found.boxes, expected.boxes)


def test_more_levels_than_the_kernels_have() -> None:
    """The reference takes them."""
    sizes, strides = [(1, 2)] * 17, (8,) * 17
    inputs = decode_inputs(torch.float32, CPU, sizes)
    options: dict[str, Any] = {"level_sizes": sizes, "strides": strides}
    assert decode(*inputs, **options, score_threshold=0.0).counts.tolist() == [102, 102]
    with pytest.raises(ValueError, match="decode_detections: backend 'cpp' .*at most 16 levels, got 17"):
        decode(*inputs, **options, backend="cpp")
