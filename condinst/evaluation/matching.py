"""The libraries that match detections to objects: pycocotools, or the faster one of the same numbers."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from condinst.classes import distinct_names
from condinst.data.ids import IdTable, sort_key
from condinst.messages import shorten

BACKENDS = ("auto", "pycocotools", "faster-coco-eval")


@dataclass(frozen=True)
class Accumulated:
    """Precision and recall over all images; -1 marks classes without objects.

    Args:
        precision: [IoU thresholds, recall thresholds, classes, areas], areas being all, small, medium and large.
        recall: [IoU thresholds, classes, areas], the highest that was reached.
        iou_thresholds: 0.50, 0.55 ... 0.95.
        recall_thresholds: 0.00, 0.01 ... 1.00.
        class_names: a name for each class.
    """

    precision: np.ndarray
    recall: np.ndarray
    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    class_names: tuple[str, ...]


def choose_backend(name: str) -> str:
    """The library that is used: "auto" is faster-coco-eval where it is installed, else pycocotools.

    Raises:
        ValueError: an unknown name, or a library that is not installed.
    """
    if name not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if name == "faster-coco-eval" and not installed:
        raise ValueError("backend: expected faster-coco-eval to be installed; pip install faster-coco-eval")
    if name == "auto":
        return "faster-coco-eval" if installed else "pycocotools"
    return name


def accumulate(
    truth: COCO,
    results: list[dict[str, Any]],
    kind: str,
    *,
    max_detections: int,
    image_ids: Sequence[int | str],
    backend: str,
) -> Accumulated:
    """Matches detections to objects.

    Args:
        truth: annotations with `area` and `iscrowd`. It is not changed.
        results: detections in COCO's results format; with `bbox` for boxes, without for masks. Those of categories that
            the truth does not have are dropped.
        kind: "bbox" or "segm".
        max_detections: detections per image and class that count, best first.
        image_ids: the images that count.
        backend: one of `BACKENDS`.

    Raises:
        ValueError: a result of an image that the truth does not have.
    """
    numbered = _Numbered(truth)
    make_coco: Any = COCO
    make_evaluator: Any = COCOeval
    if choose_backend(backend) == "faster-coco-eval":
        library: Any = importlib.import_module("faster_coco_eval")  # optional, and without types
        make_coco, make_evaluator = library.COCO, library.COCOeval_faster
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        objects, detections = make_coco(), make_coco()
        objects.dataset = {"info": {}, "licenses": [], **numbered.dataset}  # pycocotools before 2.0.11 copies "info"
        objects.createIndex()
        rows = numbered.results(results)
        if rows:
            detections = objects.loadRes(rows)
        else:  # which pycocotools cannot load
            detections.dataset = {**numbered.dataset, "annotations": []}
            detections.createIndex()
        evaluator = make_evaluator(objects, detections, kind)
        evaluator.params.imgIds = [numbered.image_numbers[image_id] for image_id in image_ids]
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    return Accumulated(
        precision=np.asarray(evaluator.eval["precision"])[..., 0],
        recall=np.asarray(evaluator.eval["recall"])[..., 0],
        iou_thresholds=evaluator.params.iouThrs,
        recall_thresholds=evaluator.params.recThrs,
        class_names=numbered.class_names,
    )


class _Numbered:
    """A truth whose images, categories and annotations are numbered from 1: evaluators compute with ids in 64 bits.

    They also take a match with an object of id 0 for none, and add fields to what they get.

    Args:
        truth: with ids of any size, or text.
    """

    def __init__(self, truth: COCO) -> None:
        content = truth.dataset
        categories = sorted(content["categories"], key=lambda category: sort_key(category["id"]))
        self.image_numbers = {image["id"]: number for number, image in enumerate(content["images"], start=1)}
        self._category_numbers = {category["id"]: number for number, category in enumerate(categories, start=1)}
        self._images, self._categories = IdTable(self.image_numbers), IdTable(self._category_numbers)
        self.class_names = tuple(
            distinct_names(
                [str(category["name"]) for category in categories], [category["id"] for category in categories]
            )
        )
        self.dataset = {
            "images": [{**image, "id": self.image_numbers[image["id"]]} for image in content["images"]],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.class_names, start=1)],
            "annotations": [
                {
                    **annotation,
                    "id": number,
                    "image_id": self.image_numbers[annotation["image_id"]],
                    "category_id": self._category_numbers[annotation["category_id"]],
                }
                for number, annotation in enumerate(content["annotations"], start=1)
            ],
        }

    def results(self, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Copies of results with the same numbers, without those of unknown categories."""
        rows = []
        for result in results:
            image_id = self._images.find(result["image_id"])
            if image_id is None:
                raise ValueError(f"results: image_id {shorten(result['image_id'])} is not among the images of the data")
            category_id = self._categories.find(result["category_id"])
            if category_id is not None:
                numbers = {
                    "image_id": self.image_numbers[image_id],
                    "category_id": self._category_numbers[category_id],
                }
                rows.append({**result, **numbers})
        return rows


def mean_known(values: np.ndarray) -> float:
    """The mean without the -1 of classes that have no objects; NaN where nothing is left."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
