"""`select_top_locations` against a loop that follows numerics 2.3 word by word, and the rules that draw or take all."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from condinst.ops import select_top_locations
from condinst.ops.select_top_locations.spec import grid_logits, make_objects
from tests.ops.backends import cpu_backends_of

each_backend = pytest.mark.parametrize("backend", cpu_backends_of("select_top_locations"))


def by_loops(class_logits: Tensor, centerness_logits: Tensor, objects: Tensor, max_locations: int) -> Tensor:
    """Per image: its matched objects share the places; each takes its best locations, the lower one of equals."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    selected = torch.zeros(objects.shape, dtype=torch.bool)
    for image, row in enumerate(objects.tolist()):
        matched = {index for index in row if index >= 0}
        for index in matched:
            own = [location for location, owner in enumerate(row) if owner == index]

            def score(location: int, image: int = image) -> float:
                best_class = max(class_logits[image, location].tolist())
                return sigmoid(best_class) * sigmoid(float(centerness_logits[image, location]))

            own.sort(key=lambda location: (-round(score(location), 9), location))
            for location in own[: max(max_locations // len(matched), 1)]:
                selected[image, location] = True
    return selected


def make_args(objects: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    logits = grid_logits(torch.float32, *objects.shape, num_classes, seed=3)
    return logits, grid_logits(torch.float32, *objects.shape, seed=4), objects


@each_backend
@pytest.mark.parametrize(("per_image", "max_locations"), [(1, 64), (5, 64), (9, 20), (90, 64), (7, 1)])
def test_loops(per_image: int, max_locations: int, backend: str) -> None:
    args = make_args(make_objects(3, 300, per_image, positives=0.6, seed=per_image), 4)
    selected = select_top_locations(*args, num_objects=3 * per_image, max_locations=max_locations, backend=backend)
    assert torch.equal(selected, by_loops(*args, max_locations))


@each_backend
def test_more_matched_objects_than_locations(backend: str) -> None:
    """Each of 100 objects keeps its best location, although only 64 were asked for."""
    objects = torch.arange(100).repeat(1, 3)
    selected = select_top_locations(*make_args(objects, 4), num_objects=100, backend=backend)
    assert objects[selected].sort().values.tolist() == list(range(100))


@each_backend
def test_unmatched_objects_take_no_places(backend: str) -> None:
    """Two of 40 objects have positives: 32 places each, of which the first can fill 10 only."""
    objects = torch.full((1, 200), -1)
    objects[0, :10], objects[0, 50:150] = 7, 31
    selected = select_top_locations(*make_args(objects, 4), num_objects=40, backend=backend)
    assert int(selected[0, :10].sum()) == 10 and int(selected[0, 50:150].sum()) == 32
    assert int(selected.sum()) == 42


@each_backend
def test_of_equal_scores_the_lower_location(backend: str) -> None:
    objects = torch.zeros(1, 100, dtype=torch.int64)
    logits, centerness = torch.zeros(1, 100, 3), torch.zeros(1, 100)
    selected = select_top_locations(logits, centerness, objects, num_objects=1, max_locations=30, backend=backend)
    assert selected[0].nonzero().flatten().tolist() == list(range(30))
    # sigmoid(1) * sigmoid(2) either way
    logits[0, 40:60], centerness[0, 40:60] = 1.0, 2.0
    logits[0, 60:80], centerness[0, 60:80] = 2.0, 1.0
    selected = select_top_locations(logits, centerness, objects, num_objects=1, max_locations=30, backend=backend)
    assert selected[0].nonzero().flatten().tolist() == list(range(40, 70))


@each_backend
def test_nan_is_the_largest_as_in_pytorch(backend: str) -> None:
    objects = torch.zeros(1, 50, dtype=torch.int64)
    logits, centerness, _ = make_args(objects, 20)
    logits[0, 31, 3] = math.nan
    centerness[0, 44] = math.nan
    kwargs: dict[str, Any] = {"num_objects": 1, "max_locations": 5}
    selected = select_top_locations(logits, centerness, objects, **kwargs, backend=backend)
    assert selected[0, [31, 44]].all()
    assert torch.equal(selected, select_top_locations(logits, centerness, objects, **kwargs, backend="reference"))


@each_backend
def test_no_positives(backend: str) -> None:
    objects = torch.full((2, 30), -1)
    for rule in ("top", "random", "all"):
        assert not select_top_locations(*make_args(objects, 2), num_objects=5, rule=rule, backend=backend).any()


@each_backend
def test_all(backend: str) -> None:
    args = make_args(make_objects(2, 100, 4, positives=0.3), 2)
    selected = select_top_locations(*args, num_objects=8, rule="all", max_locations=1, backend=backend)
    assert torch.equal(selected, args[2] >= 0)


@each_backend
def test_random(backend: str) -> None:
    """As many as asked for, positives alone, by the seed, and each of them as often as the others."""
    args = make_args(make_objects(2, 60, 4, positives=0.5), 2)
    positive = args[2] >= 0
    num_positives = int(positive.sum())
    kwargs: dict[str, Any] = {"num_objects": 8, "rule": "random", "backend": backend}

    torch.manual_seed(5)
    draws = [select_top_locations(*args, max_locations=10, **kwargs) for _ in range(400)]
    assert all(int(draw.sum()) == 10 and not (draw & ~positive).any() for draw in draws)
    torch.manual_seed(5)
    assert torch.equal(select_top_locations(*args, max_locations=10, **kwargs), draws[0])
    counts = torch.stack(draws).sum(dim=0)[positive].double()
    expected = 400 * 10 / num_positives
    deviation = math.sqrt(expected * (1 - 10 / num_positives))
    assert (counts - expected).abs().max() < 4.5 * deviation

    everything = select_top_locations(*args, max_locations=num_positives + 7, **kwargs)
    assert torch.equal(everything, positive)
