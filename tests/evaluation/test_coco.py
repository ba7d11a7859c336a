from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import InstanceEvaluator, average_precision, coco_results
from condinst.files import json_ready
from tests.data.synthetic import write_json, write_rectangles


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


@pytest.fixture(params=["pycocotools", "faster-coco-eval"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    return request.param


def test_perfect_predictions(data: CocoInstances, backend: str) -> None:
    scores = InstanceEvaluator(data, backend=backend).evaluate(Oracle(data))
    assert scores["failed"] == []
    for kind in ("box", "mask"):
        for name in ("AP", "AP50", "AP75", "APs", "AR"):
            assert scores[kind][name] == pytest.approx(1.0)
        assert math.isnan(scores[kind]["APl"])
        assert scores[kind]["per_class"] == pytest.approx({"rectangle": 1.0})


def test_agrees_with_cocoeval_at_100_detections(data: CocoInstances, backend: str) -> None:
    model = Oracle(data, shift=3, noise=1).eval()
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index in range(len(data)):
        found = coco_results(model([data.image(index)])[0], data.image_ids[index], data.classes.category_ids)
        boxes += found[0]
        masks += found[1]
    for kind, results in (("bbox", boxes), ("segm", masks)):
        with contextlib.redirect_stdout(io.StringIO()):
            plain = COCOeval(data.coco, data.coco.loadRes(copy.deepcopy(results)), kind)
            plain.evaluate()
            plain.accumulate()
            plain.summarize()
        ours = average_precision(
            data.coco, results, kind, max_detections=100, image_ids=data.image_ids, backend=backend
        )
        assert 0 < ours["AP"] < 1
        names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
        for name, expected in [*zip(names, plain.stats, strict=False), ("AR", plain.stats[8])]:
            assert ours[name] == pytest.approx(expected) or (math.isnan(ours[name]) and expected == -1), name


def test_max_detections_counts_the_best(data: CocoInstances, backend: str) -> None:
    few = InstanceEvaluator(data, max_detections=3, backend=backend).evaluate(Oracle(data, noise=3))
    all_of_them = InstanceEvaluator(data, max_detections=5, backend=backend).evaluate(Oracle(data, noise=3))
    assert few["mask"]["AP"] == few["box"]["AP"] == 0
    assert all_of_them["mask"]["AP"] > 0 and all_of_them["box"]["AP"] > 0


def test_no_detections(data: CocoInstances, backend: str) -> None:
    class Blind(Oracle):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            return [{key: value[:0] for key, value in super().forward(images)[0].items()}]

    scores = InstanceEvaluator(data, backend=backend).evaluate(Blind(data))["mask"]
    assert scores["AP"] == scores["AR"] == 0


def test_max_images_and_mode(data: CocoInstances) -> None:
    model = Oracle(data)
    assert InstanceEvaluator(data).evaluate(model, max_images=2)["mask"]["AP"] == pytest.approx(1.0)
    assert model.asked == 2 and model.training


def test_labels_beyond_the_categories(data: CocoInstances) -> None:
    detections = {
        "boxes": torch.tensor([[0.0, 0.0, 5.0, 5.0]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.5]),
        "masks": torch.ones(1, 64, 64, dtype=torch.bool),
    }
    with pytest.raises(ValueError, match="labels: expected less than 1"):
        coco_results(detections, 0, data.classes.category_ids)


def test_scores_are_strict_json() -> None:
    scores = {"mask": {"AP": 0.5, "APl": float("nan"), "per_class": {"thing": float("nan")}}}
    assert json.dumps(json_ready(scores), allow_nan=False) == (
        '{"mask": {"AP": 0.5, "APl": null, "per_class": {"thing": null}}}'
    )


@pytest.mark.parametrize("damage", ["missing", "another size", "no image"])
def test_an_image_that_cannot_be_read(data: CocoInstances, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = data.image_path(4)
    if damage == "missing":
        path.unlink()
    elif damage == "another size":
        Image.new("RGB", (32, 64)).save(path)
    else:
        path.write_text("hello")
    model = Oracle(data)
    scores = InstanceEvaluator(data).evaluate(model)
    assert model.asked == 4
    (failure,) = scores["failed"]
    assert failure["image_id"] == data.image_ids[4] and failure["path"] == str(path)
    assert failure["reason"] and str(path) not in failure["reason"]
    assert f"skipped, its objects count as missed: {path}: " in caplog.text
    assert scores["mask"]["AR"] == scores["box"]["AR"] == pytest.approx(0.8)  # two of ten objects are in it


def test_no_image_can_be_read(data: CocoInstances, tmp_path: Path) -> None:
    nowhere = CocoInstances(data.annotations, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="images: expected the folder of the images of .*; .* and all others are miss"):
        InstanceEvaluator(nowhere).evaluate(Oracle(nowhere))
    for index in range(len(data)):
        data.image_path(index).write_bytes(b"no picture")
    scores = InstanceEvaluator(data).evaluate(Oracle(data))
    assert len(scores["failed"]) == 5 and scores["mask"]["AP"] == 0
    assert json_ready(scores["timing"]) == {"model": None, "total": None}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError, MemoryError, lambda text: RuntimeError(f"{text}\nyou can't allocate memory")]
)
def test_an_image_too_large_for_the_memory(data: CocoInstances, error: Callable[[str], Exception]) -> None:
    class Small(Oracle):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            found = super().forward(images)
            if self.asked == 2:
                raise error("CUDA out of memory.\nMore words")
            return found

    scores = InstanceEvaluator(data).evaluate(Small(data))
    assert [failure["reason"] for failure in scores["failed"]] == ["CUDA out of memory."]
    assert scores["mask"]["AR"] == pytest.approx(0.8)


def test_a_broken_model_ends_the_run_and_keeps_its_mode(data: CocoInstances) -> None:
    class Broken(Oracle):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            raise RuntimeError("it broke")

    model = Broken(data)
    with pytest.raises(RuntimeError, match="it broke"):
        InstanceEvaluator(data).evaluate(model)
    assert model.training


def test_timing(data: CocoInstances) -> None:
    class Slow(Oracle):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            time.sleep(0.05)
            return super().forward(images)

    timing = InstanceEvaluator(data).evaluate(Slow(data))["timing"]
    assert 0.05 <= timing["model"] < timing["total"] < 5


def test_results_file(data: CocoInstances, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    scores = InstanceEvaluator(data, results_path=path).evaluate(Oracle(data, shift=3))
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]
    results = json.loads(path.read_text())
    assert len(results) == 10
    assert all(
        set(row) == {"image_id", "category_id", "score", "bbox", "segmentation"} and set(row["segmentation"]) == {
            "size", "counts"
        }
        for row in results
    )  # fmt: skip
    for name, kind, other in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
        alone = [{key: value for key, value in row.items() if key != other} for row in results]
        again = average_precision(data.coco, alone, kind, max_detections=100, image_ids=data.image_ids)
        assert 0 < again["AP"] < 1
        assert json_ready(again) == json_ready(scores[name])


def test_incomplete_annotations(data: CocoInstances, tmp_path: Path, backend: str) -> None:
    """Without area and iscrowd, and numbered from 0, which the evaluators take for "no match"."""
    content = json.loads(data.annotations.read_text())
    for annotation in content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
        annotation["id"] -= 1
    bare = CocoInstances(write_json(tmp_path, content), data.images_dir)
    before = copy.deepcopy(bare.coco.dataset)
    assert InstanceEvaluator(bare, backend=backend).evaluate(Oracle(bare))["mask"]["AP"] == pytest.approx(1.0)
    assert bare.coco.dataset == before


@pytest.mark.parametrize(
    "segmentation", [[[1, 2]], [], None, {"size": [3, 3], "counts": [9]}, [[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]]]
)
def test_a_bad_mask_is_left_out_and_counted(
    data: CocoInstances, tmp_path: Path, backend: str, segmentation: Any
) -> None:
    content = json.loads(data.annotations.read_text())
    content["annotations"].append({**content["annotations"][2], "id": 99, "segmentation": segmentation})
    more = CocoInstances(write_json(tmp_path, content), data.images_dir)
    evaluator = InstanceEvaluator(more, backend=backend)
    with pytest.warns(
        UserWarning, match=r"10 of 11 objects can be used.* \(annotation 99 .* the score is without 1 obj"
    ):
        evaluator.check()
    scores = evaluator.evaluate(Oracle(more))
    assert scores["mask"]["AR"] == scores["box"]["AR"] == pytest.approx(1)
    assert scores["objects_left_out"] == 1 and scores["findings"][0]["count"] == 1
    assert json.dumps(json_ready(scores), allow_nan=False)


def test_an_object_without_pixels_counts_as_missed(data: CocoInstances, tmp_path: Path, backend: str) -> None:
    """As in pycocotools, so that the scores of COCO stay those of COCO."""
    content = json.loads(data.annotations.read_text())
    between = [[3.1, 4.1, 3.2, 4.1, 3.2, 4.2]]
    content["annotations"].append(
        {**content["annotations"][0], "id": 99, "segmentation": between, "bbox": [0, 0, 3, 3]}
    )
    more = CocoInstances(write_json(tmp_path, content), data.images_dir)
    with pytest.warns(UserWarning, match="10 of 11 .*; 1 objects without pixels count as missed"):
        scores = InstanceEvaluator(more, backend=backend).evaluate(Oracle(more))
    assert scores["mask"]["AR"] == scores["box"]["AR"] == pytest.approx(10 / 11)


@pytest.mark.parametrize(
    "change", [{"iscrowd": 1}, {"segmentation": None}, {"segmentation": [[0.1, 0, 0.2, 0.5, 0.3, 0.4]]}]
)
def test_nothing_that_can_be_scored(data: CocoInstances, tmp_path: Path, change: dict[str, Any]) -> None:
    content = json.loads(data.annotations.read_text())
    content["annotations"] = [entry | change for entry in content["annotations"]]
    nothing = CocoInstances(write_json(tmp_path, content), data.images_dir)
    with pytest.raises(ValueError, match="expected objects with masks, but no object can be used"):
        InstanceEvaluator(nothing).check()


@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [40, 40, -5, -5], [1, 2], "x", [0, 0, 10**400, 1]])
def test_a_box_decides_nothing_where_there_is_a_mask(
    data: CocoInstances, tmp_path: Path, backend: str, box: Any
) -> None:
    content = json.loads(data.annotations.read_text())
    for entry in content["annotations"]:
        entry["bbox"] = box
    other = CocoInstances(write_json(tmp_path, content), data.images_dir)
    with pytest.warns(UserWarning, match="boxes .*: 10 "):
        scores = InstanceEvaluator(other, backend=backend).evaluate(Oracle(other))
    assert scores["box"]["AP"] == scores["mask"]["AP"] == pytest.approx(1)
    for index in range(len(data)):
        assert torch.equal(other.objects(index).boxes, data.objects(index).boxes)


@pytest.mark.parametrize("kind", [str, lambda number: f"a/{number}", lambda number: 2**70 + number, float])
def test_ids_of_any_kind(data: CocoInstances, tmp_path: Path, backend: str, kind: Any) -> None:
    content = json.loads(data.annotations.read_text())
    for entry in content["images"] + content["categories"]:
        entry["id"] = kind(entry["id"])
    for entry in content["annotations"]:
        entry |= {"image_id": kind(entry["image_id"]), "category_id": kind(entry["category_id"])}
    other = CocoInstances(write_json(tmp_path, content), data.images_dir)
    ids, path = list(other.image_ids), tmp_path / "results.json"
    evaluator = InstanceEvaluator(other, backend=backend, results_path=path)
    assert evaluator.evaluate(Oracle(other))["mask"]["AP"] == pytest.approx(1)
    assert other.image_ids == ids and [entry["id"] for entry in other.images.values()] == ids
    results = json.loads(path.read_text())
    assert {row["image_id"] for row in results} == set(ids)
    assert {row["category_id"] for row in results} == set(other.classes.category_ids)


def test_categories_of_one_name_keep_their_rows(data: CocoInstances, tmp_path: Path, backend: str) -> None:
    content = json.loads(data.annotations.read_text())
    content["categories"].append({"id": 5, "name": "rectangle"})
    other = CocoInstances(write_json(tmp_path, content), data.images_dir)
    per_class = InstanceEvaluator(other, backend=backend).evaluate(Oracle(other))["mask"]["per_class"]
    assert json_ready(per_class) == {"rectangle (1)": pytest.approx(1), "rectangle (5)": None}


def test_labels_without_a_category_are_dropped(data: CocoInstances) -> None:
    class Shifted(Oracle):
        """Knows "rectangle" as label 1, and finds something of label 0 on top of each."""

        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            (found,) = super().forward(images)
            doubled = {key: torch.cat([value, value]) for key, value in found.items()}
            doubled["labels"] = (torch.arange(len(doubled["labels"])) >= len(found["labels"])).long()
            return [doubled]

    scores = InstanceEvaluator(data, category_ids=[None, 1]).evaluate(Shifted(data))
    assert scores["mask"]["AP"] == pytest.approx(1.0)
    assert InstanceEvaluator(data, category_ids=[None, None]).evaluate(Shifted(data))["mask"]["AP"] == 0


def test_what_is_refused_before_the_model_runs(data: CocoInstances) -> None:
    with pytest.raises(ValueError, match="max_images: expected at least 0 .* got -1"):
        InstanceEvaluator(data).evaluate(nn.Identity(), max_images=-1)
    with pytest.raises(ValueError, match=r"instances\.json: expected results elsewhere"):
        InstanceEvaluator(data, results_path=data.images_dir / ".." / "instances.json").evaluate(nn.Identity())


@pytest.mark.parametrize("area", ["120.5", None, [1], float("nan"), 10**400, 0, -5, 1e9])
def test_an_area_that_is_none_is_that_of_the_mask(tmp_path: Path, backend: str, area: Any) -> None:
    path = write_rectangles(tmp_path, images=1)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        entry["area"] = area
    data = CocoInstances.from_content(content, tmp_path / "images", path)
    with pytest.warns(UserWarning, match="areas that are no positive number of pixels: 2 "):
        scores = InstanceEvaluator(data, backend=backend).evaluate(Oracle(data))["mask"]
    assert scores["APs"] == pytest.approx(1) and math.isnan(scores["APm"]) and math.isnan(scores["APl"])


def test_other_fields_may_be_anything(tmp_path: Path, backend: str) -> None:
    """The evaluators copy what they are given, as deep as it is."""
    path = write_rectangles(tmp_path, images=1)
    content = json.loads(path.read_text())
    deep: list[Any] = []
    for _ in range(10**5):
        deep = [deep]
    for key in ("images", "annotations", "categories"):
        content[key][0]["more"] = deep
    data = CocoInstances.from_content(content, tmp_path / "images", path)
    assert InstanceEvaluator(data, backend=backend).evaluate(Oracle(data))["mask"]["AP"] == pytest.approx(1.0)
