from __future__ import annotations

import contextlib
import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import average_precision, coco_results, evaluate_coco, json_ready
from tests.data.synthetic import write_rectangles


class Oracle(nn.Module):
    """A model that knows the objects, with a shift in pixels and `noise` detections of empty corners on top.

    Args:
        data: where the objects are.
        shift: how far to the right detections are.
        noise: wrong detections of an image, with scores above all others.
    """

    def __init__(self, data: CocoInstances, shift: int = 0, noise: int = 0) -> None:
        super().__init__()
        self.data = data
        self.shift = shift
        self.noise = noise
        self.asked = 0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        target = self.data.target(self.asked)
        self.asked += 1
        masks = target["masks"].roll(self.shift, 2)
        boxes = target["boxes"] + torch.tensor([self.shift, 0, self.shift, 0])
        wrong = torch.zeros(self.noise, *masks.shape[1:], dtype=torch.bool)
        wrong[:, 0, 0] = True
        scores = torch.linspace(0.9, 0.5, self.noise + len(boxes))
        return [
            {
                "boxes": torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(self.noise, 4), boxes]),
                "labels": torch.zeros(self.noise + len(boxes), dtype=torch.int64),
                "scores": scores,
                "masks": torch.cat([wrong, masks]),
            }
        ]


@pytest.fixture
def data(tmp_path: Path) -> CocoInstances:
    return CocoInstances(write_rectangles(tmp_path, images=5), tmp_path / "images")


def test_perfect_predictions(data: CocoInstances) -> None:
    scores = evaluate_coco(Oracle(data), data)
    for kind in ("box", "mask"):
        for name in ("AP", "AP50", "AP75", "APs"):
            assert scores[kind][name] == pytest.approx(1.0)
        assert math.isnan(scores[kind]["APl"])
        assert scores[kind]["per_class"] == pytest.approx({"rectangle": 1.0})


def test_agrees_with_cocoeval_at_100_detections(data: CocoInstances) -> None:
    model = Oracle(data, shift=3, noise=1).eval()
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index in range(len(data)):
        found = coco_results(model([data.image(index)])[0], data.image_ids[index], data.category_ids)
        boxes += found[0]
        masks += found[1]
    for kind, results in (("bbox", boxes), ("segm", masks)):
        with contextlib.redirect_stdout(io.StringIO()):
            plain = COCOeval(data.coco, data.coco.loadRes(copy.deepcopy(results)), kind)
            plain.evaluate()
            plain.accumulate()
            plain.summarize()
        ours = average_precision(data.coco, results, kind, max_detections=100, image_ids=data.image_ids)
        assert 0 < ours["AP"] < 1
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
        for name, expected in zip(names, plain.stats, strict=False):
            assert ours[name] == pytest.approx(expected) or (math.isnan(ours[name]) and expected == -1), name


def test_max_detections_counts_the_best(data: CocoInstances) -> None:
    few = evaluate_coco(Oracle(data, noise=3), data, max_detections=3)
    all_of_them = evaluate_coco(Oracle(data, noise=3), data, max_detections=5)
    assert few["mask"]["AP"] == few["box"]["AP"] == 0
    assert all_of_them["mask"]["AP"] > 0 and all_of_them["box"]["AP"] > 0


def test_no_detections(data: CocoInstances) -> None:
    class Blind(Oracle):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            return [{key: value[:0] for key, value in super().forward(images)[0].items()}]

    assert evaluate_coco(Blind(data), data)["mask"]["AP"] == 0


def test_max_images_and_mode(data: CocoInstances) -> None:
    model = Oracle(data)
    assert evaluate_coco(model, data, max_images=2)["mask"]["AP"] == pytest.approx(1.0)
    assert model.asked == 2 and model.training


def test_labels_beyond_the_categories(data: CocoInstances) -> None:
    detections = {
        "boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.5]),
        "masks": torch.ones(1, 64, 64, dtype=torch.bool),
    }
    with pytest.raises(ValueError, match="labels: expected less than 1"):
        coco_results(detections, 0, data.category_ids)


def test_scores_are_strict_json() -> None:
    scores = {"mask": {"AP": 0.5, "APl": float("nan"), "per_class": {"thing": float("nan")}}}
    assert json.dumps(json_ready(scores), allow_nan=False) == (
        '{"mask": {"AP": 0.5, "APl": null, "per_class": {"thing": null}}}'
    )
