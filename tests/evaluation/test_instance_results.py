"""Results of any tool in COCO's format: what is read, and what one bad result costs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pycocotools import mask as rle

from condinst.data.coco import CocoInstances
from condinst.data.open import open_instances
from condinst.evaluation.coco import InstanceEvaluator
from condinst.evaluation.instance_results import read_instance_results
from tests.command import error_line, run_command

SQUARE = [4, 4, 14, 4, 14, 14, 4, 14]
TRUTH: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [4, 4, 10, 10], "area": 100, "segmentation": [SQUARE]}
    ],
}
GOOD = {"image_id": 7, "category_id": 3, "score": 0.9, "segmentation": [SQUARE]}


@pytest.fixture
def data(tmp_path: Path) -> CocoInstances:
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    return CocoInstances(tmp_path / "truth.json", tmp_path)


def write(data: CocoInstances, content: Any) -> Path:
    path = data.annotations.with_name("results.json")
    path.write_text(json.dumps(content))
    return path


def run_lengths() -> dict[str, Any]:
    code = rle.merge(rle.frPyObjects([SQUARE], 20, 30))
    return {"size": [20, 30], "counts": code["counts"].decode()}


@pytest.mark.parametrize("segmentation", [[SQUARE], run_lengths()])
@pytest.mark.parametrize("box", [{}, {"bbox": [4, 4, 10, 10]}])
@pytest.mark.parametrize("key", [None, "annotations", "predictions", "results", "detections"])
def test_forms(data: CocoInstances, segmentation: Any, box: dict[str, Any], key: str | None) -> None:
    rows = [{**GOOD, **box, "segmentation": segmentation}]
    scores = InstanceEvaluator(data).evaluate_results(write(data, rows if key is None else {key: rows}))
    assert scores["mask"]["AP"] == scores["box"]["AP"] == pytest.approx(1.0)
    assert scores["images"] == 1 and scores["failed"] == [] and scores["left_out"] == {}


def test_boxes_alone(data: CocoInstances) -> None:
    row = {"image_id": 7, "category_id": 3, "score": 0.9, "bbox": [4, 4, 10, 10]}
    scores = InstanceEvaluator(data).evaluate_results(write(data, [row]))
    assert scores["box"]["AP"] == pytest.approx(1.0) and math.isnan(scores["mask"]["AP"])


BAD: list[Any] = [
    {**GOOD, "image_id": 8},
    {**GOOD, "image_id": None},
    {**GOOD, "category_id": "cat"},
    {**GOOD, "score": None},
    {**GOOD, "score": float("nan")},
    {**GOOD, "segmentation": {"size": [20, 30], "counts": "?"}},
    {**GOOD, "segmentation": {"size": [2, 3], "counts": [6]}},
    {**GOOD, "segmentation": "square"},
    {**GOOD, "segmentation": [], "bbox": [1, 2, 3]},
    "row",
]


def test_one_bad_result_costs_itself(data: CocoInstances, caplog: pytest.LogCaptureFixture) -> None:
    results, left_out = read_instance_results(write(data, [GOOD, *BAD]), data)
    assert [len(rows) for rows in results[7]] == [1, 1]
    assert sum(left_out.values()) == len(BAD) and left_out["a bad segmentation"] == 3
    assert len(caplog.messages) == len(left_out)
    with pytest.raises(
        ValueError, match=r"results.json: expected results of .*got 10 that cannot be scored: 2 with an"
    ):
        read_instance_results(write(data, BAD), data)


def test_other_files_are_named_for_what_they_are(data: CocoInstances) -> None:
    with pytest.raises(ValueError, match="expected results with scores, got annotations"):
        read_instance_results(data.annotations, data)
    with pytest.raises(ValueError, match="expected a list of results, got 5"):
        read_instance_results(write(data, 5), data)
    with pytest.raises(ValueError, match="none.json: no such file"):
        read_instance_results(data.annotations.with_name("none.json"), data)


def test_no_results_are_a_score_of_zero(data: CocoInstances) -> None:
    assert InstanceEvaluator(data).evaluate_results(write(data, []))["mask"]["AP"] == 0


def test_command(data: CocoInstances, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = write(data, [GOOD, BAD[0]])
    words = ["evaluate", "--data", data.annotations, "--results", results]
    assert run_command(*words, "--out", tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert "100.00" in captured.out and "1 results were left out: an image_id" in captured.out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["mask"]["AP"] == pytest.approx(1)
    assert run_command(*words, "--weights", "condinst_nano") == 1
    assert run_command(*words, "--out", tmp_path, "--json") == 0


@pytest.mark.parametrize("field", [{"score": 10**400}, {"bbox": [1, 1, 10**400, 2]}, {"bbox": [True, 1, 5, 5]}])
def test_numbers_that_are_none_cost_one_result(data: CocoInstances, field: dict[str, Any]) -> None:
    row = {"image_id": 7, "category_id": 3, "score": 0.9, "bbox": [4, 4, 10, 10]}
    results, left_out = read_instance_results(write(data, [row, {**row, **field}]), data)
    assert len(results[7][0]) == 1 and sum(left_out.values()) == 1


def test_other_encodings_and_depth_are_named(data: CocoInstances, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(data, [])
    for content, message in (
        (json.dumps([GOOD]).encode("utf-16"), "text in UTF-16"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"[" * 200_000, "too deep"),
    ):
        path.write_bytes(content)
        assert run_command("evaluate", "--data", data.annotations, "--results", path) == 1
        assert message in error_line(capsys)


def test_results_need_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(TRUTH))
    data = open_instances(tmp_path, split="val", need_images=False)
    assert InstanceEvaluator(data).evaluate_results(write(data, [GOOD]))["mask"]["AP"] == pytest.approx(1)


def test_objects_of_other_images_are_not_left_out_of_the_first(tmp_path: Path) -> None:
    content = json.loads(json.dumps(TRUTH))
    content["images"].append({"id": 8, "file_name": "b.png", "height": 20, "width": 30})
    content["annotations"].append({**content["annotations"][0], "id": 2, "image_id": 8, "category_id": 99})
    data = CocoInstances.from_content(content, tmp_path, tmp_path / "truth.json")
    for limit, left_out in ((1, 0), (2, 1)):
        with pytest.warns(UserWarning):
            scores = InstanceEvaluator(data).evaluate_results(write(data, [GOOD]), max_images=limit)
        assert scores["objects_left_out"] == left_out


def test_no_results(data: CocoInstances, caplog: pytest.LogCaptureFixture) -> None:
    assert InstanceEvaluator(data).evaluate_results(write(data, []))["mask"]["AP"] == 0
    assert "results.json: no results in the file; all objects count as missed" in caplog.text
    with pytest.raises(ValueError, match=r"expected a list of results, or .*; got an object with \['a'\]"):
        InstanceEvaluator(data).evaluate_results(write(data, {"a": []}))


def test_hints_at_other_conventions(data: CocoInstances, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**GOOD, "category_id": number, "segmentation": None, "bbox": [16, 12, 26, 18]} for number in (2, 3)]
    read_instance_results(write(data, rows), data)
    assert "1 of 1 boxes fit only as (x1, y1, x2, y2)" in caplog.text and "count from 0" not in caplog.text
    content = json.loads(data.annotations.read_text())
    content["categories"] = [{"id": number, "name": str(number)} for number in (1, 2, 3)]
    three = CocoInstances.from_content(content, data.images_dir, data.annotations)
    read_instance_results(write(data, [{**GOOD, "category_id": number} for number in (0, 1, 2)]), three)
    assert "the category ids count from 0, it seems" in caplog.text
    with pytest.raises(ValueError, match="1 with neither a mask nor a box with an area"):
        read_instance_results(write(data, [{**GOOD, "segmentation": None, "bbox": [4, 4, -3, 10]}]), data)
