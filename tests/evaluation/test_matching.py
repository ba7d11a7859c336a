"""Both evaluators give the same numbers, which the tests of `InstanceEvaluator` compare with known ones."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from condinst.evaluation.coco import average_precision
from condinst.evaluation.matching import accumulate, choose_backend

SIDE = 200
CATEGORIES = (2, 3, 7, 9)  # nothing is of the last one


def _make(seed: int, ties: bool) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects of all sizes, some of them crowds, as polygons and run lengths, and detections near them.

    Returns:
        A data set, and detections as boxes and as masks.
    """
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for image_id in range(12):
        for _ in range(random.integers(0, 8)):
            w, h = (int(v) for v in random.integers(4, 150, 2))
            x, y = (int(random.integers(0, SIDE - v)) for v in (w, h))
            outline = [[float(v) for v in (x, y, x + w, y, x + w, y + 0.7 * h, x + 0.5 * w, y + h, x, y + h)]]
            code = rle.merge(rle.frPyObjects(outline, SIDE, SIDE))
            crowd = int(random.random() < 0.2)
            category = int(random.choice(CATEGORIES[:3]))
            text = {"size": code["size"], "counts": code["counts"].decode()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": float(rle.area(code)),
                    "iscrowd": crowd,
                    "segmentation": text if crowd else outline,
                }
            )
            for _ in range(random.integers(0, 4)):
                dx, dy = (int(v) for v in random.integers(-12, 13, 2))
                found = category if random.random() < 0.8 else int(random.choice(CATEGORIES))
                score = round(float(random.random()), 1 if ties else 6)
                common = {"image_id": image_id, "category_id": found, "score": score}
                boxes.append({**common, "bbox": [x + dx + 0.3, float(y + dy), float(w), float(h)]})
                moved = np.roll(rle.decode(code), (dy, dx), (0, 1))
                masks.append({**common, "segmentation": rle.encode(np.asfortranarray(moved))})
    data = {
        "images": [{"id": i, "height": SIDE, "width": SIDE, "file_name": f"{i}.png"} for i in range(12)],
        "categories": [{"id": i, "name": f"class {i}"} for i in CATEGORIES],
        "annotations": annotations,
    }
    return data, boxes, masks


def _coco(content: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = copy.deepcopy(content)
    coco.createIndex()
    return coco


@pytest.mark.parametrize("max_detections", [1, 3, 100, 500])
@pytest.mark.parametrize("ties", [False, True])
def test_the_same_numbers(ties: bool, max_detections: int) -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    data, boxes, masks = _make(max_detections, ties)
    for kind, results in (("bbox", boxes), ("segm", masks)):
        slow, fast = (
            accumulate(
                _coco(data), results, kind,
                max_detections=max_detections, image_ids=list(range(10)), backend=backend,
            )
            for backend in ("pycocotools", "faster-coco-eval")
        )  # fmt: skip
        assert slow.class_names == fast.class_names == ("class 2", "class 3", "class 7", "class 9")
        # they differ where one adds 2e-16 to a denominator and the other does not
        np.testing.assert_allclose(fast.precision, slow.precision, rtol=0, atol=1e-12)
        np.testing.assert_allclose(fast.recall, slow.recall, rtol=0, atol=1e-12)
        assert 0 < slow.recall[:, :3, 0].mean() < 1 and (slow.recall[:, 3] == -1).all()

        scores = [
            average_precision(
                _coco(data), results, kind,
                max_detections=max_detections, image_ids=list(range(10)), backend=backend,
            )
            for backend in ("pycocotools", "faster-coco-eval")
        ]  # fmt: skip
        assert scores[0].pop("per_class") == pytest.approx(scores[1].pop("per_class"), abs=1e-9, nan_ok=True)
        assert scores[0] == pytest.approx(scores[1], abs=1e-9, nan_ok=True)
        assert 0 < scores[0]["AP"] < scores[0]["AP50"] < 1


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend("pycocotools") == "pycocotools"
    with pytest.raises(ValueError, match="backend: expected one of auto, pycocotools, faster-coco-eval, got 'coco'"):
        choose_backend("coco")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json") if name == "faster_coco_eval" else None)
    assert choose_backend("auto") == choose_backend("faster-coco-eval") == "faster-coco-eval"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose_backend("auto") == "pycocotools"
    with pytest.raises(ValueError, match="pip install faster-coco-eval"):
        choose_backend("faster-coco-eval")


def test_older_pycocotools_need_info_in_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.0.10 copies it into the results, whether it is there or not."""
    load = COCO.loadRes

    def load_with_info(self: COCO, results: Any) -> COCO:
        assert self.dataset["info"] == {}
        return load(self, results)

    monkeypatch.setattr(COCO, "loadRes", load_with_info)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 1, "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}],
    }
    truth.createIndex()
    detections = [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 4, 4]}]
    found = accumulate(truth, detections, "bbox", max_detections=10, image_ids=[1], backend="pycocotools")
    assert found.precision.max() == pytest.approx(1)
