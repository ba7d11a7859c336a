"""Panoptic quality against numbers by hand, a literal form of COCO's rules, and torchmetrics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condinst.classes import Classes
from condinst.evaluation.panoptic_quality import Counts, compare_segments, summarize

THINGS = {1: "cat", 2: "dog", 5: "cow"}
STUFF = {3: "sky", 8: "sea"}
CATEGORIES = [*THINGS, *STUFF]

Segments = list[dict[str, Any]]


def _compare(truth_ids: Any, truth: Segments, ids: Any, found: Segments) -> dict[int, Counts]:
    maps = [torch.as_tensor(map_, dtype=torch.int32) for map_ in (truth_ids, ids)]
    return compare_segments(maps[0], truth, maps[1], found, CATEGORIES, "image 7")


def _row(*runs: tuple[int, int]) -> Tensor:
    """One row of ids from runs of (id, pixels)."""
    return torch.tensor([[number for number, pixels in runs for _ in range(pixels)]], dtype=torch.int32)


def _info(number: int, category: int, iscrowd: int = 0) -> dict[str, Any]:
    return {"id": number, "category_id": category, "iscrowd": iscrowd}


@pytest.mark.parametrize(("shared", "expected"), [(6, Counts(iou=6 / 10, tp=1)), (5, Counts(fp=1, fn=1))])
def test_a_match_needs_more_than_half(shared: int, expected: Counts) -> None:
    # truth 10 px, prediction `shared` of them: IoU 6/10, and exactly 1/2
    counts = _compare(_row((9, 10)), [_info(9, 1)], _row((4, shared), (0, 10 - shared)), [_info(4, 1)])
    assert counts == {1: expected}


def test_segments_of_other_categories_do_not_match() -> None:
    counts = _compare(_row((9, 10)), [_info(9, 1)], _row((4, 10)), [_info(4, 3)])
    assert counts == {1: Counts(fn=1), 3: Counts(fp=1)}


def test_void_of_the_truth_is_not_in_the_union() -> None:
    # prediction 14 px, 8 of them on void and 6 on the 10 px of the truth: 6 / (14 + 10 - 6 - 8)
    counts = _compare(_row((9, 10), (0, 8)), [_info(9, 1)], _row((0, 4), (4, 14)), [_info(4, 1)])
    assert counts == {1: Counts(iou=6 / 10, tp=1)}


@pytest.mark.parametrize(("on_void", "fp"), [(5, 1), (6, 0)])
def test_a_prediction_mostly_on_void_is_ignored(on_void: int, fp: int) -> None:
    truth_ids = _row((9, 10 - on_void), (0, on_void))
    counts = _compare(truth_ids, [_info(9, 3)], _row((4, 10)), [_info(4, 1)])
    assert counts[3] == Counts(fn=1)
    assert counts.get(1, Counts()) == Counts(fp=fp)


@pytest.mark.parametrize(
    ("category", "crowd_category", "fp"),
    [(1, 1, 0), (1, 2, 1)],  # 3 px on void and 3 on the crowd of 10: more than half if the crowd is of the category
)
def test_a_prediction_on_void_and_the_crowd_of_its_category(category: int, crowd_category: int, fp: int) -> None:
    truth_ids = _row((9, 4), (0, 3), (8, 3))
    counts = _compare(truth_ids, [_info(9, 3), _info(8, crowd_category, 1)], _row((4, 10)), [_info(4, category)])
    assert counts.get(category, Counts()) == Counts(fp=fp)
    assert counts[3] == Counts(fn=1)
    assert crowd_category == category or crowd_category not in counts


def test_a_crowd_never_matches_and_is_never_missed() -> None:
    assert _compare(_row((9, 10)), [_info(9, 1, 1)], _row((4, 10)), [_info(4, 1)]) == {}
    assert _compare(_row((9, 10)), [_info(9, 1, 1)], _row((0, 10)), []) == {}


def test_of_several_crowds_of_a_category_the_last_counts() -> None:
    truth_ids = _row((8, 7), (9, 3))
    first, second = _info(8, 1, 1), _info(9, 1, 1)
    assert _compare(truth_ids, [first, second], _row((4, 10)), [_info(4, 1)]) == {1: Counts(fp=1)}
    assert _compare(truth_ids, [second, first], _row((4, 10)), [_info(4, 1)]) == {}


def test_void_in_the_prediction_is_as_wrong_as_anything() -> None:
    """COCO misses what the prediction leaves void, and counts it in the union."""
    counts = _compare(_row((9, 10)), [_info(9, 1)], _row((0, 10)), [])
    assert counts == {1: Counts(fn=1)}
    counts = _compare(_row((9, 10)), [_info(9, 1)], _row((0, 3), (4, 7)), [_info(4, 1)])
    assert counts == {1: Counts(iou=0.7, tp=1)}


def test_large_ids() -> None:
    big = 256**3 - 1
    counts = _compare(_row((big, 3), (1, 3)), [_info(big, 1), _info(1, 2)], _row((big - 1, 3), (big, 3)),
                      [_info(big - 1, 1), _info(big, 2)])  # fmt: skip
    assert counts == {1: Counts(iou=1, tp=1), 2: Counts(iou=1, tp=1)}


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (
            [],
            [_info(4, 1)],
            "image 7: truth: expected an entry in segments_info for each id in the map, got none for 9",
        ),
        ([_info(9, 1)], [], "image 7: prediction: expected an entry .* got none for 4"),
        ([_info(9, 1), _info(2, 1)], [_info(4, 1)], "truth: expected pixels in the map .* got none for 2"),
        ([_info(9, 1)], [_info(4, 1), _info(5, 1), _info(6, 1)], "prediction: expected pixels .* got none for 5, 6"),
        ([_info(9, 1)], [_info(4, 1), _info(4, 2)], "prediction: expected one entry .* got several for 4"),
        ([_info(9, 1)], [_info(4, 44)], "prediction: expected category ids of the data, got 44"),
        ([_info(9, 44)], [_info(4, 1)], "truth: expected category ids of the data, got 44"),
    ],
)
def test_refuses_segments_that_do_not_fit(truth: Segments, found: Segments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _compare(_row((9, 5)), truth, _row((4, 5)), found)


def test_refuses_maps_of_unlike_sizes() -> None:
    with pytest.raises(ValueError, match="image 7: expected predicted segments of 1 x 5 pixels .* got 1 x 6"):
        _compare(_row((9, 5)), [_info(9, 1)], _row((4, 6)), [_info(4, 1)])
    with pytest.raises(ValueError, match="got 5"):
        _compare(_row((9, 5)), [_info(9, 1)], _row((4, 5))[0], [_info(4, 1)])


def classes(things: dict[int, str], stuff: dict[int, str]) -> Classes:
    """The classes with these names, by category id."""
    categories = [[{"id": number, "name": name} for number, name in kind.items()] for kind in (things, stuff)]
    return Classes.from_categories(*categories)


def test_summary_by_hand() -> None:
    images = [{1: Counts(iou=0.8, tp=1, fp=1), 3: Counts(fn=1)}, {1: Counts(iou=0.7, tp=1, fn=2)}]
    scores = summarize(images, classes(THINGS, STUFF))
    cat = scores["per_class"]["cat"]
    assert cat == {"PQ": 1.5 / 3.5, "SQ": 0.75, "RQ": 2 / 3.5, "TP": 2, "FP": 1, "FN": 2, "isthing": True}
    sky = scores["per_class"]["sky"]
    assert sky == {"PQ": 0, "SQ": 0, "RQ": 0, "TP": 0, "FP": 0, "FN": 1, "isthing": False}
    assert math.isnan(scores["per_class"]["dog"]["PQ"])
    assert scores["things"] == {"PQ": 1.5 / 3.5, "SQ": 0.75, "RQ": 2 / 3.5, "categories": 1}
    assert scores["stuff"] == {"PQ": 0, "SQ": 0, "RQ": 0, "categories": 1}
    assert scores["all"] == {"PQ": 0.75 / 3.5, "SQ": 0.375, "RQ": 1 / 3.5, "categories": 2}


@pytest.mark.parametrize(("things", "stuff"), [({}, STUFF), (THINGS, {}), ({}, {})])
def test_no_things_or_no_stuff(things: dict[int, str], stuff: dict[int, str]) -> None:
    scores = summarize([{category: Counts(iou=1, tp=1)} for category in (*things, *stuff)], classes(things, stuff))
    for group, own in (("things", things), ("stuff", stuff), ("all", {**things, **stuff})):
        assert scores[group]["categories"] == len(own)
        assert scores[group]["PQ"] == 1 if own else math.isnan(scores[group]["PQ"])


def test_only_void() -> None:
    nothing = _row((0, 5))
    assert _compare(nothing, [], nothing, []) == {}
    assert _compare(nothing, [], _row((4, 5)), [_info(4, 1)]) == {}
    scores = summarize([{}], classes(THINGS, STUFF))
    assert math.isnan(scores["all"]["PQ"]) and scores["all"]["categories"] == 0


def test_names_that_two_categories_have() -> None:
    scores = summarize([{1: Counts(fn=1)}], classes({1: "tree"}, {3: "tree", 4: "sky"}))
    assert list(scores["per_class"]) == ["tree (1)", "tree (3)", "sky"]


def _random_segments(
    random: np.random.Generator, size: tuple[int, int], *, filled: bool, crowds: bool
) -> tuple[np.ndarray, Segments]:
    """Rectangles over one another, or over one stuff segment where `filled`; one stuff segment per category."""
    ids = np.full(size, 50 if filled else 0)
    categories = {50: 3} if filled else {}
    for number in range(1, random.integers(2, 9)):
        category = int(random.choice(CATEGORIES))
        segment_id = {3: 50, 8: 60}.get(category, number)
        y, x = random.integers(0, size[0] - 2), random.integers(0, size[1] - 2)
        ids[y : y + random.integers(2, size[0]), x : x + random.integers(2, size[1])] = segment_id
        categories[segment_id] = category
    shown = np.unique(ids).tolist()
    infos = [
        _info(number, category, int(crowds and category in THINGS and random.random() < 0.4))
        for number, category in categories.items()
        if number in shown
    ]
    return ids, infos


def _changed(random: np.random.Generator, ids: np.ndarray, infos: Segments, void: bool) -> tuple[np.ndarray, Segments]:
    """A prediction near the truth: moved by a pixel or two, one segment cut or gone, some of another category."""
    size = ids.shape
    moved = np.roll(ids, tuple(random.integers(-2, 3, 2)), (0, 1))
    other, other_infos = _random_segments(random, (size[0], size[1]), filled=not void, crowds=False)
    part = np.zeros(size, bool)
    y, x = random.integers(0, size[0]), random.integers(0, size[1])
    part[y : y + random.integers(0, size[0]), x : x + random.integers(0, size[1])] = True
    if not void:
        part |= moved == 0
    offset = 100  # ids of the stuff stay, as there is one segment per category
    new = np.where((other > 0) & (other < 50), other + offset, other)
    found = np.where(part, new, moved)
    categories = {info["id"]: info["category_id"] for info in infos}
    categories |= {info["id"] + (offset if info["id"] < 50 else 0): info["category_id"] for info in other_infos}
    for number in list(categories):
        if number < 50 and random.random() < 0.1:
            categories[number] = int(random.choice(list(THINGS)))
    return found, [_info(number, categories[number]) for number in np.unique(found).tolist() if number]


def _literally(truth_ids: np.ndarray, truth: Segments, ids: np.ndarray, found: Segments) -> dict[int, Counts]:
    """The rules of the COCO panoptic task, one mask at a time."""
    counts = {category: Counts() for category in CATEGORIES}
    void = truth_ids == 0
    matched, true_matched = [], []
    for true in truth:
        if true["iscrowd"]:
            continue
        true_mask = truth_ids == true["id"]
        for own in found:
            mask = ids == own["id"]
            if own["category_id"] == true["category_id"]:
                iou = (mask & true_mask).sum() / ((mask & ~void) | true_mask).sum()
                if iou > 0.5:
                    counts[true["category_id"]].tp += 1
                    counts[true["category_id"]].iou += iou
                    matched.append(own["id"])
                    true_matched.append(true["id"])
    for true in truth:
        if not true["iscrowd"] and true["id"] not in true_matched:
            counts[true["category_id"]].fn += 1
    for own in found:
        if own["id"] in matched:
            continue
        ignored = void
        for true in reversed(truth):
            if true["iscrowd"] and true["category_id"] == own["category_id"]:
                ignored = void | (truth_ids == true["id"])
                break
        mask = ids == own["id"]
        if (mask & ignored).sum() / mask.sum() <= 0.5:
            counts[own["category_id"]].fp += 1
    return {category: own for category, own in counts.items() if own != Counts()}


def test_the_rules_taken_literally() -> None:
    random = np.random.default_rng(0)
    seen = Counts()
    ignored = crowds = 0
    for _ in range(400):
        truth_ids, truth = _random_segments(random, (12, 16), filled=False, crowds=True)
        ids, found = _changed(random, truth_ids, truth, void=True)
        counts = _compare(truth_ids, truth, ids, found)
        expected = _literally(truth_ids, truth, ids, found)
        assert counts.keys() == expected.keys()
        for category, own in counts.items():
            assert (own.tp, own.fp, own.fn) == (expected[category].tp, expected[category].fp, expected[category].fn)
            assert own.iou == pytest.approx(expected[category].iou, rel=1e-14)
            seen += own
        ignored += len(found) - sum(own.tp + own.fp for own in counts.values())
        crowds += sum(info["iscrowd"] for info in truth)
    assert min(seen.tp, seen.fp, seen.fn, ignored, crowds) > 50  # each rule had its turn


@pytest.fixture
def double() -> Iterator[None]:
    """float64 by default, as torchmetrics divides pixels by pixels in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _colors(ids: np.ndarray, infos: Segments) -> Tensor:
    """Category and segment of each pixel, [1, H, W, 2], as torchmetrics wants them; category 0 is void."""
    categories = {0: 0, **{info["id"]: info["category_id"] for info in infos}}
    return torch.from_numpy(np.stack([np.vectorize(categories.__getitem__)(ids), ids], axis=-1))[None]


def test_agrees_with_torchmetrics(double: None) -> None:
    """Without crowds, which torchmetrics does not know, and with void in the prediction only on void.

    What it does with other void in the prediction is not COCO's rule, see the next test.
    """
    detection = pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    options = {"return_sq_and_rq": True, "return_per_class": True, "allow_unknown_preds_category": True}
    whole = detection.PanopticQuality(set(THINGS), set(STUFF), **options)
    random = np.random.default_rng(1)
    per_image = []
    order = [*sorted(THINGS), *sorted(STUFF)]
    for number in range(240):
        truth_ids, truth = _random_segments(random, (18, 24), filled=number % 3 == 0, crowds=False)
        ids, found = _changed(random, truth_ids, truth, void=False)
        if number % 2:
            hole = (truth_ids == 0) & (random.random(ids.shape) < 0.3)
            ids = np.where(hole, 0, ids)
            found = [info for info in found if (ids == info["id"]).any()]
        counts = _compare(truth_ids, truth, ids, found)
        per_image.append(counts)
        expected = whole(_colors(ids, found), _colors(truth_ids, truth))  # of this image alone
        _assert_equal(summarize([counts], classes(THINGS, STUFF)), expected, order)
    scores = summarize(per_image, classes(THINGS, STUFF))
    _assert_equal(scores, whole.compute(), order)
    assert 0.2 < scores["all"]["PQ"] < 0.8
    states = {"TP": whole.true_positives, "FP": whole.false_positives, "FN": whole.false_negatives}
    for key, values in states.items():
        assert [own[key] for own in scores["per_class"].values()] == values.tolist()
        assert values.min() > 20


def test_where_torchmetrics_is_not_coco(double: None) -> None:
    """It forgives void in the prediction: none of a missed object, and no pixels of it in the union."""
    detection = pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    truth_ids, truth = np.full((1, 10), 9), [_info(9, 1)]
    for ids, found, ours, theirs in (
        (np.zeros((1, 10), int), [], Counts(fn=1), (0.0, 0, 0, 0)),
        (np.array([[0] * 3 + [4] * 7]), [_info(4, 1)], Counts(iou=0.7, tp=1), (1.0, 1, 0, 0)),
    ):
        metric = detection.PanopticQuality({1}, {3}, allow_unknown_preds_category=True)
        metric.update(_colors(ids, found), _colors(truth_ids, truth))
        states = (metric.iou_sum, metric.true_positives, metric.false_positives, metric.false_negatives)
        assert tuple(state[0].item() for state in states) == theirs
        assert _compare(truth_ids, truth, ids, found) == {1: ours}


def _assert_equal(scores: dict[str, Any], expected: Tensor, order: list[int]) -> None:
    names = {**THINGS, **STUFF}
    for category, values in zip(order, expected.reshape(-1, 3).tolist(), strict=True):
        own = scores["per_class"][names[category]]
        got = [0.0 if math.isnan(own[key]) else own[key] for key in ("PQ", "SQ", "RQ")]  # torchmetrics' 0 of nothing
        assert got == pytest.approx(values, rel=1e-14, abs=0)
