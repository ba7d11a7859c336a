from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import InstanceEvaluator
from condinst.evaluation.curves import check_can_plot, precision_recall, save_curves
from condinst.evaluation.matching import Accumulated
from tests.data.synthetic import write_rectangles
from tests.evaluation.test_coco import Oracle


def test_means_over_classes_that_have_objects() -> None:
    precision = np.full((3, 2, 3, 4), -1.0)  # [IoU, recall, class, area]
    precision[..., 0, 0] = [[1.0, 0.8], [0.6, 0.4], [0.2, 0.0]]
    precision[..., 2, 0] = [[0.5, 0.4], [0.2, 0.0], [0.0, 0.0]]
    precision[..., 0, 1] = 9  # small objects do not count
    found = Accumulated(
        precision=precision,
        recall=np.zeros((3, 3, 4)),
        iou_thresholds=np.array([0.5, 0.75, 0.9]),
        recall_thresholds=np.array([0.0, 1.0]),
        class_names=("a", "b", "c"),
    )
    curves = precision_recall(found)
    assert curves["recall"] == [0, 1]
    assert curves["AP50"] == pytest.approx([0.75, 0.6])
    assert curves["AP75"] == pytest.approx([0.4, 0.2])
    assert curves["AP"] == pytest.approx([2.5 / 6, 1.6 / 6])


def test_curves_of_an_evaluation(tmp_path: Path) -> None:
    data = CocoInstances(write_rectangles(tmp_path, images=4), tmp_path / "images")
    scores = InstanceEvaluator(data, curves=True).evaluate(Oracle(data, shift=3, noise=1))
    assert set(scores["curves"]) == {"box", "mask"}
    for kind, curves in scores["curves"].items():
        assert all(len(values) == 101 for values in curves.values())
        for name in ("AP", "AP50", "AP75"):
            assert np.mean(curves[name]) == pytest.approx(scores[kind][name])

    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "new" / "curves.png"
    save_curves(scores["curves"], path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[0] > 300 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3


def test_curves_without_objects(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    nothing = {"recall": [0.0, 1.0], **{name: [float("nan")] * 2 for name in ("AP", "AP50", "AP75")}}
    save_curves({"box": nothing}, tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").stat().st_size > 0


def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"plot: expected a name ending in \.png"):
        check_can_plot(tmp_path / "curves.gif")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'condinst\[plot\]'"):
        check_can_plot(tmp_path / "curves.png")
