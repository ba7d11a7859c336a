"""The libraries that match detections to objects: pycocotools, or the faster one of the same numbers."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

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
    truth: COCO, results: list[dict[str, Any]], kind: str, *, max_detections: int, image_ids: list[int], backend: str
) -> Accumulated:
    """Matches detections to objects.

    Args:
        truth: annotations with `area` and `iscrowd`. The evaluators add fields to them.
        results: detections in COCO's results format; with `bbox` for boxes, without for masks.
        kind: "bbox" or "segm".
        max_detections: detections per image and class that count, best first.
        image_ids: the images that count.
        backend: one of `BACKENDS`.
    """
    make_coco: Any = COCO
    make_evaluator: Any = COCOeval
    if choose_backend(backend) == "faster-coco-eval":
        library: Any = importlib.import_module("faster_coco_eval")  # optional, and without types
        make_coco, make_evaluator = library.COCO, library.COCOeval_faster
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        objects, found = make_coco(), make_coco()
        objects.dataset = {"info": {}, "licenses": [], **truth.dataset}  # pycocotools before 2.0.11 copies "info"
        objects.createIndex()
        if results:
            found = objects.loadRes([dict(result) for result in results])  # it adds fields to them
        else:  # which pycocotools cannot load
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluator = make_evaluator(objects, found, kind)
        evaluator.params.imgIds = image_ids
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    return Accumulated(
        precision=np.asarray(evaluator.eval["precision"])[..., 0],
        recall=np.asarray(evaluator.eval["recall"])[..., 0],
        iou_thresholds=evaluator.params.iouThrs,
        recall_thresholds=evaluator.params.recThrs,
        class_names=tuple(str(truth.cats[category]["name"]) for category in evaluator.params.catIds),
    )


def mean_known(values: np.ndarray) -> float:
    """The mean without the -1 of classes that have no objects; NaN where nothing is left."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
