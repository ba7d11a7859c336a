"""COCO average precision of boxes and masks through pycocotools."""

from __future__ import annotations

import contextlib
import inspect
import io
import math
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import track
from torch import nn

from condinst.data.coco import CocoInstances

_AREAS = ("all", "small", "medium", "large")


def evaluate_coco(
    model: nn.Module,
    data: CocoInstances,
    *,
    max_detections: int = 100,
    max_images: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """Runs a model over annotated images and computes its average precision.

    Images go through one at a time and leave only run-length codes behind, so memory does not grow with the data.

    Args:
        model: follows torchvision's detection convention with 0-based labels; one whose `forward` has a `mask_format`
            is asked for run lengths, so that no masks of image size are made. It must itself give up to
            `max_detections` per image: `condinst.load(..., max_detections=500)`.
        data: the annotated images. Their categories, in the order of their ids, are the model's labels.
        max_detections: detections per image that count, best first.
        max_images: only so many of the first images; 0 for all.
        device: where the model runs.
        progress: show a progress bar.

    Returns:
        {"box": ..., "mask": ...}, see `average_precision`.
    """
    # ours has a shorter form for masks than torchvision's models
    options = {"mask_format": "rle"} if "mask_format" in inspect.signature(model.forward).parameters else {}
    count = min(max_images or len(data), len(data))
    was_training = model.training
    model.eval().to(device)
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index in track(range(count), description="Evaluating", disable=not progress):
        with torch.inference_mode():
            (detections,) = model([data.image(index).to(device)], **options)
        box_results, mask_results = coco_results(detections, data.image_ids[index], data.category_ids)
        boxes += box_results
        masks += mask_results
    model.train(was_training)
    image_ids = data.image_ids[:count]
    return {
        "box": average_precision(data.coco, boxes, "bbox", max_detections=max_detections, image_ids=image_ids),
        "mask": average_precision(data.coco, masks, "segm", max_detections=max_detections, image_ids=image_ids),
    }


def coco_results(
    detections: dict[str, Any], image_id: int, category_ids: list[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The detections of one image in COCO's results format, boxes and masks apart.

    They are apart because pycocotools takes the area of a result that has both from its box.

    Args:
        detections: `boxes` [K, 4] xyxy px, `scores` [K], `labels` [K] 0-based, and `rles` (K COCO run lengths) or
            `masks` bool [K, H, W].
        image_id: the image's id in the annotation file.
        category_ids: the category id of each label.
    """
    scores = detections["scores"].tolist()
    labels = detections["labels"].tolist()
    if labels and max(labels) >= len(category_ids):
        raise ValueError(f"labels: expected less than {len(category_ids)} (categories of the data), got {max(labels)}")
    corners = detections["boxes"].double().tolist()
    codes = detections["rles"] if "rles" in detections else _encoded(detections["masks"])
    common = [
        {"image_id": image_id, "category_id": category_ids[label], "score": score}
        for label, score in zip(labels, scores, strict=True)
    ]
    boxes = [
        {**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]} for entry, (x1, y1, x2, y2) in zip(common, corners, strict=True)
    ]
    return boxes, [{**entry, "segmentation": code} for entry, code in zip(common, codes, strict=True)]


def _encoded(masks: torch.Tensor) -> list[dict[str, Any]]:
    pixels = masks.to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    return rle.encode(np.asfortranarray(pixels)) if len(masks) else []  # it runs down the columns of [H, W, K]


def average_precision(
    truth: COCO, results: list[dict[str, Any]], kind: str, *, max_detections: int, image_ids: list[int]
) -> dict[str, Any]:
    """COCO average precision with any number of detections per image.

    COCOeval's own summary is hard-wired to 100 detections; the numbers here are the same at 100.

    Args:
        truth: annotations.
        results: detections in COCO's results format.
        kind: "bbox" or "segm".
        max_detections: detections per image that count, best first.
        image_ids: the images that count.

    Returns:
        `AP` (IoU 0.50:0.95), `AP50`, `AP75`, `APs`, `APm`, `APl` (objects below 32^2, below 96^2 and above, in px of
        area), all in 0..1 and NaN where there is no such object, and `per_class`: class name -> AP.
    """
    found = [dict(result) for result in results]  # pycocotools adds fields to them
    with contextlib.redirect_stdout(io.StringIO()):  # and prints its progress
        evaluator = COCOeval(truth, truth.loadRes(found) if found else _no_results(truth), kind)
        evaluator.params.imgIds = image_ids
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    # [IoU thresholds, recalls, classes, areas]; -1 marks classes without objects.
    precision = evaluator.eval["precision"][..., 0]
    precision = np.where(precision < 0, np.nan, precision)
    thresholds = evaluator.params.iouThrs
    names = [truth.cats[category]["name"] for category in evaluator.params.catIds]
    return {
        "AP": _mean(precision[..., 0]),
        "AP50": _mean(precision[np.isclose(thresholds, 0.5), ..., 0]),
        "AP75": _mean(precision[np.isclose(thresholds, 0.75), ..., 0]),
        **{f"AP{area[0]}": _mean(precision[..., i]) for i, area in enumerate(_AREAS) if area != "all"},
        "per_class": {name: _mean(precision[:, :, k, 0]) for k, name in enumerate(names)},
    }


def json_ready(scores: Any) -> Any:
    """Nested scores with None for NaN, which strict JSON does not have."""
    if isinstance(scores, dict):
        return {key: json_ready(value) for key, value in scores.items()}
    return None if isinstance(scores, float) and math.isnan(scores) else scores


def _no_results(truth: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
