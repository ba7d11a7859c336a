"""Panoptic quality by the rules of COCO's panoptic task, from maps of segment ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from condinst.classes import Classes, distinct_names
from condinst.data.ids import sort_key
from condinst.evaluation.categories import few
from condinst.evaluation.runner import mean
from condinst.messages import shorten

Segments = Sequence[dict[str, Any]]

_VOID = 0
_LOW_BITS = 0xFFFFFFFF


@dataclass
class Counts:
    """What panoptic quality is made of, for one category.

    Args:
        iou: the sum of the IoU of all matched pairs.
        tp: matched pairs.
        fp: predicted segments without a match.
        fn: true segments without a match.
    """

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __iadd__(self, other: Counts) -> Counts:
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self

    def quality(self) -> dict[str, float]:
        """`PQ`, `SQ` and `RQ` in 0..1, NaN where there is no segment; SQ is 0 without a match."""
        weight = self.tp + self.fp / 2 + self.fn / 2
        if weight == 0:
            return dict.fromkeys(("PQ", "SQ", "RQ"), float("nan"))
        return {"PQ": self.iou / weight, "SQ": self.iou / self.tp if self.tp else 0.0, "RQ": self.tp / weight}


def compare_segments(
    truth_ids: Tensor, truth: Segments, ids: Tensor, segments: Segments, category_ids: Collection[int | str], name: str
) -> dict[int, Counts]:
    """Matches the predicted segments of one image with the true ones.

    A pair of the same category matches where its IoU is above 1/2, which a segment can reach with one partner at most;
    pixels of the prediction on void of the truth do not count in the union. A true segment without a match is missed
    (FN), unless it is a crowd, which never matches. A predicted one without a match is wrong (FP), unless more than
    half of it lies on void and on the crowd of its category; of several crowds of a category the last in `truth` counts
    (so does panopticapi). Areas are counted from the maps; a field `area` is not read.

    Args:
        truth_ids: int32 [H, W], the true segment of each pixel, 0 for void.
        truth: `id`, `category_id` and, where not 0, `iscrowd` of each true segment.
        ids: int32 [H, W], the predicted segment of each pixel, 0 for void.
        segments: `id` and `category_id` of each predicted segment.
        category_ids: all categories there are.
        name: of the image, for messages.

    Returns:
        Category id -> counts, for the categories that have any.

    Raises:
        ValueError: maps of unlike sizes, ids of a map without an entry or entries without pixels, an id twice, an
            unknown category. The message names the image and the ids.
    """
    if truth_ids.shape != ids.shape or ids.ndim != 2:
        raise ValueError(
            f"{name}: expected predicted segments of {_size(truth_ids)} pixels (height x width) as in the truth, got"
            f" {_size(ids)}"
        )
    overlaps = _overlaps(truth_ids, ids)
    truth_area: dict[int, int] = {}
    area: dict[int, int] = {}
    for (true_id, found_id), pixels in overlaps.items():
        truth_area[true_id] = truth_area.get(true_id, 0) + pixels
        area[found_id] = area.get(found_id, 0) + pixels
    true_category = _categories(truth, truth_area, category_ids, f"{name}: truth")
    category = _categories(segments, area, category_ids, f"{name}: prediction")
    crowds = {segment["category_id"]: segment["id"] for segment in truth if segment.get("iscrowd", 0)}
    ignored = {segment["id"] for segment in truth if segment.get("iscrowd", 0)} | {_VOID}

    counts: dict[int, Counts] = {}
    true_matched, matched = set(), set()
    for (true_id, found_id), pixels in overlaps.items():
        if true_id in ignored or found_id == _VOID or true_category[true_id] != category[found_id]:
            continue
        union = area[found_id] + truth_area[true_id] - pixels - overlaps.get((_VOID, found_id), 0)
        if 2 * pixels > union:
            true_matched.add(true_id)
            matched.add(found_id)
            counts_of_category = counts.setdefault(category[found_id], Counts())
            counts_of_category.iou += pixels / union
            counts_of_category.tp += 1
    for true_id in true_category.keys() - true_matched - ignored:
        counts.setdefault(true_category[true_id], Counts()).fn += 1
    for found_id in category.keys() - matched:
        places = {_VOID, crowds.get(category[found_id], _VOID)}
        if 2 * sum(overlaps.get((place, found_id), 0) for place in places) <= area[found_id]:
            counts.setdefault(category[found_id], Counts()).fp += 1
    return counts


def _overlaps(truth_ids: Tensor, ids: Tensor) -> dict[tuple[int, int], int]:
    """(true id, predicted id) -> the pixels that they share, in the order of the ids."""
    true, predicted = (map_.cpu().numpy().astype(np.int64).ravel() for map_ in (truth_ids, ids))
    pairs, pixels = np.unique(true << 32 | predicted & _LOW_BITS, return_counts=True)
    ids_of_pairs = zip((pairs >> 32).tolist(), (pairs & _LOW_BITS).tolist(), strict=True)
    return dict(zip(ids_of_pairs, pixels.tolist(), strict=True))


def _categories(
    segments: Segments, areas: dict[int, int], category_ids: Collection[int | str], where: str
) -> dict[int, int]:
    """Segment id -> category id, after a check that map and entries are about the same segments."""
    ids = [segment["id"] for segment in segments]
    categories: dict[int, int] = {segment["id"]: segment["category_id"] for segment in segments}
    pixels = areas.keys() - {_VOID}
    if len(categories) < len(ids):
        twice = sorted(segment_id for segment_id, times in Counter(ids).items() if times > 1)
        raise ValueError(f"{where}: expected one entry for each segment in segments_info, got several for {few(twice)}")
    if pixels - categories.keys():
        unnamed = sorted(pixels - categories.keys())
        raise ValueError(
            f"{where}: expected an entry in segments_info for each id in the map, got none for {few(unnamed)}"
        )
    if categories.keys() - pixels:
        unseen = sorted(categories.keys() - pixels)
        raise ValueError(
            f"{where}: expected pixels in the map for each entry in segments_info, got none for {few(unseen)}"
        )
    unknown = sorted(set(categories.values()) - set(category_ids), key=sort_key)
    if unknown:
        raise ValueError(f"{where}: expected category ids of the data, got {few(list(map(shorten, unknown)))}")
    return categories


def _size(ids: Tensor) -> str:
    return " x ".join(map(str, ids.shape))


def summarize(per_image: Iterable[dict[int, Counts]], classes: Classes) -> dict[str, Any]:
    """Panoptic quality of all images together.

    Args:
        per_image: what `compare_segments` returned, in the order of the images.
        classes: of the data.

    Returns:
        `all`, `things` and `stuff`: `PQ`, `SQ`, `RQ`, each the mean over the categories that have a segment in truth or
        prediction, in 0..1 and NaN where there is none, and `categories`, their number. `per_class`: name -> `PQ`,
        `SQ`, `RQ`, `TP`, `FP`, `FN`, `isthing`; a name that several categories have gets the id behind it.
    """
    things, stuff = classes.category_ids, classes.stuff_category_ids
    ids = things + stuff
    names = dict(zip(ids, distinct_names(classes.panoptic_names, ids), strict=True))
    total = {category: Counts() for category in names}
    for image_counts in per_image:
        for category, counts in image_counts.items():
            total[category] += counts
    quality = {category: counts.quality() for category, counts in total.items()}
    per_class = {
        names[category]: {
            **quality[category],
            "TP": counts.tp,
            "FP": counts.fp,
            "FN": counts.fn,
            "isthing": category in things,
        }
        for category, counts in total.items()
    }
    groups = {"all": things + stuff, "things": things, "stuff": stuff}
    return {
        **{name: _average([quality[category] for category in group]) for name, group in groups.items()},
        "per_class": per_class,
    }


def _average(qualities: list[dict[str, float]]) -> dict[str, Any]:
    known = [quality for quality in qualities if quality["PQ"] == quality["PQ"]]  # NaN equals nothing
    return {**{key: mean([quality[key] for quality in known]) for key in ("PQ", "SQ", "RQ")}, "categories": len(known)}
