"""The packaged model on the bundled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import condinst
from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import InstanceEvaluator

EXAMPLES = Path(__file__).parents[2] / "examples" / "nuclei"


def mask_ap(**overrides: Any) -> float:
    model = condinst.load("condinst_nano", **overrides)
    scores = InstanceEvaluator(CocoInstances(EXAMPLES / "annotations.json", EXAMPLES), max_detections=500).evaluate(
        model
    )
    assert scores["box"]["AP"] >= 0.30
    return scores["mask"]["AP"]


def test_the_packaged_model_segments_nuclei() -> None:
    with_boxes = mask_ap()
    assert with_boxes >= 0.30  # what the project promises for the whole validation split
    assert mask_ap(nms="mask") == pytest.approx(with_boxes, abs=0.01)  # Table 6
