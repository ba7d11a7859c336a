"""The packaged model on the bundled images."""

from __future__ import annotations

from pathlib import Path

import condinst
from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import evaluate_coco

EXAMPLES = Path(__file__).parents[2] / "examples" / "nuclei"


def test_the_packaged_model_segments_nuclei() -> None:
    model = condinst.load("condinst_nano")
    scores = evaluate_coco(model, CocoInstances(EXAMPLES / "annotations.json", EXAMPLES), max_detections=500)
    assert scores["mask"]["AP"] >= 0.30  # what the project promises for the whole validation split
    assert scores["box"]["AP"] >= 0.30
