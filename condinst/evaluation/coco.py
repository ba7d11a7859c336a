"""COCO average precision of boxes and masks."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from torch import nn

from condinst.data.coco import CocoInstances
from condinst.data.findings import Finding
from condinst.data.ids import Id
from condinst.data.object_fields import agrees, mask_box, read_area, read_box
from condinst.data.rles import encode_masks, rle_to_json
from condinst.data.usable import nothing_usable, survey_instances
from condinst.distributed import launched_rank, rank
from condinst.evaluation.curves import precision_recall
from condinst.evaluation.instance_results import read_instance_results
from condinst.evaluation.matching import Accumulated, accumulate, choose_backend, mean_known
from condinst.evaluation.runner import (
    check_images,
    check_output,
    image_count,
    report,
    report_findings,
    run_lengths_option,
    run_model,
)
from condinst.files import write_json

_AREAS = ("all", "small", "medium", "large")
_KINDS = {"box": "bbox", "mask": "segm"}


@dataclass
class _Results:
    """The detections of one image in COCO's results format."""

    boxes: list[dict[str, Any]]
    masks: list[dict[str, Any]]


@dataclass
class _Truth:
    """What detections are compared with.

    Args:
        coco: the annotations, completed.
        image_ids: of the images that count.
        objects_left_out: annotations that are not in it.
        findings: what is unusual in the annotations.
    """

    coco: COCO
    image_ids: list[Id]
    objects_left_out: int
    findings: list[Finding]


class InstanceEvaluator:
    """Computes the average precision of boxes and masks on annotated images.

    Args:
        data: the annotated images.
        max_detections: detections per image and class that count, best first. The model must itself give as many:
            `condinst.load(..., max_detections=500)`.
        category_ids: the category of each of the model's labels, None for one that the data does not have and whose
            detections are dropped, see `match_classes`. By default the data's categories in the order of their ids.
        backend: what computes the scores: "pycocotools", "faster-coco-eval" (the same numbers up to rounding), or
            "auto", the faster one where it is installed.
        results_path: write all detections there, one list of boxes with masks in COCO's results format. pycocotools
            takes the area of a result that has both from its box: drop "bbox" for mask AP by size.
        curves: return precision-recall curves, too.

    Raises:
        ValueError: an unknown backend; `results_path` that is the annotation file.
    """

    best_metric = "mask_AP"

    def __init__(
        self,
        data: CocoInstances,
        *,
        max_detections: int = 100,
        category_ids: Sequence[int | str | None] | None = None,
        backend: str = "auto",
        results_path: str | Path | None = None,
        curves: bool = False,
    ) -> None:
        self.data = data
        self.max_detections = max_detections
        self.category_ids = data.classes.category_ids if category_ids is None else category_ids
        self.backend = choose_backend(backend)
        self.results_path = None if results_path is None else Path(results_path)
        self.curves = curves
        if self.results_path is not None:
            check_output(self.results_path, [data.annotations])
        self._has_warned = False

    def check(self, max_images: int = 0) -> None:
        """See `Evaluator.check`."""
        self._read_truth(max_images)

    def evaluate(
        self, model: nn.Module, *, max_images: int = 0, device: torch.device | str = "cpu", progress: bool = False
    ) -> dict[str, Any]:
        """See `Evaluator.evaluate`.

        Args:
            model: follows torchvision's detection convention with 0-based labels; one whose `forward` has a
                `mask_format` is asked for run lengths, so that no masks of image size are made.

        Returns:
            Also `box` and `mask`, see `average_precision`; `max_detections`; `evaluator`, the name of the backend;
            `objects_left_out`, the number of objects without a mask that can be read, which the scores are without;
            `findings`, what is unusual in the annotations; with `curves`, `curves`: {"box": ..., "mask": ...}, see
            `precision_recall`.
        """
        truth = self._read_truth(max_images)
        image_ids = truth.image_ids

        def to_result(index: int, detections: dict[str, Any] | None) -> _Results:
            if detections is None:
                return _Results([], [])
            return _Results(*coco_results(detections, image_ids[index], self.category_ids))

        outcomes = run_model(
            model,
            self.data,
            range(len(image_ids)),
            to_result,
            options=run_lengths_option(model),
            device=torch.device(device),
            progress=progress,
        )
        per_image = [outcome.result for outcome in outcomes]
        if self.results_path is not None and rank() == 0:
            write_json(self.results_path, _merged(per_image))
        return {
            **self._scores(per_image, truth.coco, image_ids),
            **report_findings(truth.objects_left_out, truth.findings),
            **report(self.data, range(len(image_ids)), outcomes),
        }

    def evaluate_results(self, results: str | Path, *, content: Any = None, max_images: int = 0) -> dict[str, Any]:
        """The scores of results in COCO's format, of any tool, without a model and without the images.

        Args:
            results: the JSON file, see `read_instance_results`.
            content: what it holds, where it is read already.
            max_images: only so many of the first images; 0 for all.

        Returns:
            As `evaluate`, without `timing`; the scores of masks are NaN where no result has one. `left_out` has the
            number of results that cannot be scored, by the reason.

        Raises:
            ValueError: a negative `max_images`, annotations that cannot be scored, or results of another data set.
        """
        truth = self._read_truth(max_images, need_images=False)
        detections, left_out = read_instance_results(results, self.data, content)
        per_image = [_Results(*detections.get(image_id, ([], []))) for image_id in truth.image_ids]
        scores = self._scores(per_image, truth.coco, truth.image_ids)
        if any(boxes for boxes, _ in detections.values()) and not any(masks for _, masks in detections.values()):
            scores["mask"] = _without_values(scores["mask"])
        about = {"data": str(self.data.annotations), "images": len(truth.image_ids), "failed": [], "left_out": left_out}
        return {**scores, **report_findings(truth.objects_left_out, truth.findings), **about, "results": str(results)}

    def _read_truth(self, max_images: int, *, need_images: bool = True) -> _Truth:
        """The annotations as the evaluators need them. What is left out of them is a warning, once."""
        count = image_count(self.data, max_images)
        image_ids = self.data.image_ids[:count]
        if not any(map(self.data.annotations_of, range(count))):
            raise ValueError(
                f"{self.data.annotations}: expected annotations to compare with, got none in {count} images"
            )
        surveyed = survey_instances(self.data, count)
        if not surveyed.num_usable:
            raise ValueError(nothing_usable(self.data, surveyed))
        left_out = surveyed.num_objects - surveyed.num_usable - surveyed.num_empty + surveyed.num_left_out
        if str(surveyed) and not self._has_warned and launched_rank() == 0 and rank() == 0:
            without = f"; the score is without {left_out} objects" if left_out else ""
            missed = f"; {surveyed.num_empty} objects without pixels count as missed" if surveyed.num_empty else ""
            warnings.warn(f"{surveyed}{without}{missed}", stacklevel=3)
            self._has_warned = True
        if need_images:
            check_images(self.data, count)
        return _Truth(_complete_truth(self.data, image_ids), image_ids, left_out, surveyed.findings)

    def _scores(self, per_image: list[_Results], truth: COCO, image_ids: list[Id]) -> dict[str, Any]:
        results = {
            "box": [row for image in per_image for row in image.boxes],
            "mask": [row for image in per_image for row in image.masks],
        }
        accumulated = {
            name: accumulate(
                truth,
                results[name],
                kind,
                max_detections=self.max_detections,
                image_ids=image_ids,
                backend=self.backend,
            )
            for name, kind in _KINDS.items()
        }
        scores: dict[str, Any] = {name: _summary(values) for name, values in accumulated.items()}
        if self.curves:
            scores["curves"] = {name: precision_recall(values) for name, values in accumulated.items()}
        return scores | {"max_detections": self.max_detections, "evaluator": self.backend}

    def columns(self, scores: dict[str, Any]) -> dict[str, float]:
        """See `Evaluator.columns`: `mask_AP`, `box_AP` and so on."""
        return {
            f"{kind}_{name}": value
            for kind in ("mask", "box")
            for name, value in scores[kind].items()
            if isinstance(value, float)
        }


def evaluate_coco(
    model: nn.Module,
    data: CocoInstances,
    *,
    max_images: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """The average precision of a model in one call: `InstanceEvaluator(data, **options).evaluate(model, ...)`."""
    evaluator = InstanceEvaluator(data, **options)
    return evaluator.evaluate(model, max_images=max_images, device=device, progress=progress)


def coco_results(
    detections: dict[str, Any], image_id: Id, category_ids: Sequence[int | str | None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The detections of one image in COCO's results format, boxes and masks apart.

    They are apart because pycocotools takes the area of a result that has both from its box.

    Args:
        detections: `boxes` [K, 4] xyxy px, `scores` [K], `labels` [K] 0-based, and `rles` (K COCO run lengths) or
            `masks` bool [K, H, W].
        image_id: the image's id in the annotation file.
        category_ids: the category id of each label; detections of a label with None are dropped.
    """
    scores = detections["scores"].tolist()
    labels = detections["labels"].tolist()
    if labels and max(labels) >= len(category_ids):
        raise ValueError(f"labels: expected less than {len(category_ids)} (categories of the data), got {max(labels)}")
    corners = detections["boxes"].double().tolist()
    codes = detections["rles"] if "rles" in detections else encode_masks(detections["masks"])
    boxes, masks = [], []
    for label, score, (x1, y1, x2, y2), code in zip(labels, scores, corners, codes, strict=True):
        category_id = category_ids[label]
        if category_id is not None:
            common = {"image_id": image_id, "category_id": category_id, "score": score}
            boxes.append({**common, "bbox": [x1, y1, x2 - x1, y2 - y1]})
            masks.append({**common, "segmentation": code})
    return boxes, masks


def _merged(per_image: list[_Results]) -> list[dict[str, Any]]:
    """The detections of all images, each with its box and its mask, ready for JSON."""
    return [
        {**box, "segmentation": rle_to_json(code)}
        for results in per_image
        for box, code in zip(results.boxes, (mask["segmentation"] for mask in results.masks), strict=True)
    ]


def _complete_truth(data: CocoInstances, image_ids: list[Id]) -> COCO:
    """The annotations of the first images as the evaluators need them.

    Masks become run lengths. The box is the annotated one if it agrees with the mask, and else that of the mask; an
    `area` that is no positive number is that of the mask. Objects without pixels stay, and count as missed, as in
    pycocotools. Objects without a mask that can be read are left out. The data's own annotations stay as they are.
    """
    annotations: list[dict[str, Any]] = []
    for index in range(len(image_ids)):
        height, width = data.image_size(index)
        for annotation in data.annotations_of(index):
            mask = data.mask(annotation, height, width)
            if mask.problem is not None and not mask.is_empty:
                continue
            code = mask.rle(height, width)
            box, corners = read_box(annotation), mask_box(mask, height, width)
            if box is None or not (mask.is_empty or agrees(box, corners, height, width)):
                box = (corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1])
            area = read_area(annotation, height, width)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": list(box),
                    "area": float(rle.area(code)) if area is None else area,
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                    "segmentation": code,
                }
            )
    truth = COCO()
    # without the fields of the file that nobody needs, which may be anything
    truth.dataset = {
        "images": [{key: data.images[image_id][key] for key in ("id", "height", "width")} for image_id in image_ids],
        "categories": data.classes.to_categories(),
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
    return truth


def average_precision(
    truth: COCO,
    results: list[dict[str, Any]],
    kind: str,
    *,
    max_detections: int,
    image_ids: list[Id],
    backend: str = "auto",
) -> dict[str, Any]:
    """COCO average precision with any number of detections per image.

    COCOeval's own summary is hard-wired to 100 detections; the numbers here are the same at 100.

    Args:
        truth: annotations with `area` and `iscrowd`.
        results: detections in COCO's results format.
        kind: "bbox" or "segm".
        max_detections: detections per image and class that count, best first.
        image_ids: the images that count.
        backend: see `InstanceEvaluator`.

    Returns:
        `AP` (IoU 0.50:0.95), `AP50`, `AP75`, `APs`, `APm`, `APl` (objects below 32^2, below 96^2 and above, in px of
        area), `AR` (the recall that `max_detections` reach, IoU 0.50:0.95), all in 0..1 and NaN where there is no such
        object, and `per_class`: class name -> AP.
    """
    return _summary(
        accumulate(truth, results, kind, max_detections=max_detections, image_ids=image_ids, backend=backend)
    )


def _without_values(summary: dict[str, Any]) -> dict[str, Any]:
    """The same names with NaN for each number."""
    return {
        name: _without_values(value) if isinstance(value, dict) else float("nan") for name, value in summary.items()
    }


def _summary(accumulated: Accumulated) -> dict[str, Any]:
    precision = accumulated.precision
    return {
        "AP": mean_known(precision[..., 0]),
        "AP50": mean_known(precision[np.isclose(accumulated.iou_thresholds, 0.5), ..., 0]),
        "AP75": mean_known(precision[np.isclose(accumulated.iou_thresholds, 0.75), ..., 0]),
        **{f"AP{area[0]}": mean_known(precision[..., i]) for i, area in enumerate(_AREAS) if area != "all"},
        "AR": mean_known(accumulated.recall[..., 0]),
        "per_class": {name: mean_known(precision[:, :, k, 0]) for k, name in enumerate(accumulated.class_names)},
    }
