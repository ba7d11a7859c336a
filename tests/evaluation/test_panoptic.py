"""Panoptic quality of models and of results on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids
from condinst.data.panoptic_results import known_segments, png_name, read_panoptic_results, write_panoptic_result
from condinst.evaluation import panoptic
from condinst.evaluation.categories import match_classes
from condinst.evaluation.panoptic import PanopticEvaluator
from condinst.files import json_ready
from tests.data.synthetic import PANOPTIC_CATEGORIES, save_ids, write_panoptic
from tests.models.tiny import tiny_panoptic_config

NUM_PROCESSES = 2
SAMPLE = Path(__file__).parents[3] / "shared/data/panoptic-sample"


class Oracle(nn.Module):
    """A model that knows the segments, crowds among them.

    Args:
        data: where they are.
        shift: how far to the right the prediction is.
    """

    def __init__(self, data: CocoPanoptic, shift: int = 0) -> None:
        super().__init__()
        self.data = data
        self.shift = shift
        self.images = [data.image(index) if data.image_path(index).is_file() else None for index in range(len(data))]

    def forward(self, images: list[Tensor], panoptic: bool = False) -> list[dict[str, Any]]:
        assert panoptic and not self.training
        (image,) = images
        (index,) = (i for i, known in enumerate(self.images) if known is not None and torch.equal(known, image))
        ids, segments = self.data.segments(index)
        order = [0, *(segment["id"] for segment in segments)]
        renamed = sum((ids == old) * new for new, old in enumerate(order))
        assert isinstance(renamed, Tensor)
        shifted = renamed.roll(self.shift, 1)
        infos = []
        for number, segment in enumerate(segments, start=1):
            label = self.data.label_of[segment["category_id"]]
            thing = label < len(self.data.classes.category_ids)
            info = {"id": number, "label": label, "isthing": thing, "area": int((shifted == number).sum())}
            infos.append({**info, "score": 0.9} if thing else info)
        return [{"panoptic": {"ids": shifted.to(torch.int32), "segments_info": infos}}]


@pytest.fixture
def data(tmp_path: Path) -> CocoPanoptic:
    return CocoPanoptic(write_panoptic(tmp_path, images=5), tmp_path / "images")


def test_perfect_predictions(data: CocoPanoptic) -> None:
    scores = PanopticEvaluator(data).evaluate(Oracle(data))
    assert scores["failed"] == []
    for group, categories in (("all", 4), ("things", 2), ("stuff", 2)):
        assert scores[group] == {"PQ": 1.0, "SQ": 1.0, "RQ": 1.0, "categories": categories}
    for name, thing in (("rectangle", True), ("disc", True), ("ground", False), ("sky", False)):
        expected = {"PQ": 1.0, "SQ": 1.0, "RQ": 1.0, "TP": 5, "FP": 0, "FN": 0, "isthing": thing}
        assert scores["per_class"][name] == expected
    assert 0 < scores["timing"]["model"] < scores["timing"]["total"]
    assert PanopticEvaluator(data).evaluate(Oracle(data), max_images=2)["per_class"]["sky"]["TP"] == 2


def test_perfect_predictions_of_the_real_sample(tmp_path: Path) -> None:
    if not SAMPLE.is_dir():
        pytest.skip("needs shared/data/panoptic-sample beside the checkout")
    data = CocoPanoptic(SAMPLE / "panoptic_examples.json", SAMPLE / "input_images")
    scores = PanopticEvaluator(data, results_dir=tmp_path).evaluate(Oracle(data))
    assert scores["all"]["PQ"] == scores["all"]["SQ"] == scores["all"]["RQ"] == 1.0
    assert scores["things"]["categories"] == scores["stuff"]["categories"] == 4
    counted = [info for index in range(2) for info in data.segments_info(index) if not info["iscrowd"]]
    assert sum(own["TP"] for own in scores["per_class"].values()) == len(counted) > 40
    assert PanopticEvaluator(data).evaluate_results(data.annotations)["all"] == scores["all"]
    assert PanopticEvaluator(data).evaluate_results(tmp_path / "panoptic.json")["all"] == scores["all"]


def test_shifted_predictions(data: CocoPanoptic) -> None:
    scores = PanopticEvaluator(data).evaluate(Oracle(data, shift=2))
    assert scores["all"]["RQ"] == 1 and 0.8 < scores["all"]["PQ"] == scores["all"]["SQ"] < 0.9
    far = PanopticEvaluator(data).evaluate(Oracle(data, shift=32))
    assert far["things"] == {"PQ": 0, "SQ": 0, "RQ": 0, "categories": 2}
    assert far["per_class"]["disc"]["FN"] == 5


def test_results_are_those_on_disk(data: CocoPanoptic, tmp_path: Path) -> None:
    scores = PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data, shift=2))
    results = tmp_path / "out" / "panoptic.json"
    again = PanopticEvaluator(data).evaluate_results(results)
    assert again.pop("results") == str(results)
    assert again == {key: scores[key] for key in again}
    entries = json.loads(results.read_text())["annotations"]
    assert [entry["image_id"] for entry in entries] == data.image_ids
    for entry in entries:
        ids = read_segment_ids(tmp_path / "out" / "panoptic" / entry["file_name"])
        assert {info["id"] for info in entry["segments_info"]} == set(ids.unique().tolist()) - {0}
        for info in entry["segments_info"]:
            assert info["area"] == int((ids == info["id"]).sum())
            assert ("score" in info) == (info["category_id"] in data.classes.category_ids)


def test_skipped_images_are_missed(data: CocoPanoptic, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data.image_path(1).unlink()
    scores = PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data))
    failure = {"image_id": 1, "path": str(data.image_path(1)), "reason": "no such file"}
    assert scores["failed"] == [failure] and str(data.image_path(1)) in caplog.text
    for own in scores["per_class"].values():  # the crowd of the skipped image is not missed
        assert (own["TP"], own["FP"], own["FN"]) == (4, 0, 1)
    again = PanopticEvaluator(data).evaluate_results(tmp_path / "out" / "panoptic.json")
    assert again["per_class"] == scores["per_class"]


def test_labels_without_a_category_become_void(data: CocoPanoptic, tmp_path: Path) -> None:
    scores = PanopticEvaluator(data, category_ids=[1, None, 4, 9], results_dir=tmp_path / "out").evaluate(Oracle(data))
    assert (scores["per_class"]["disc"]["FP"], scores["per_class"]["disc"]["FN"]) == (0, 5)
    assert scores["per_class"]["sky"]["PQ"] == 1
    assert PanopticEvaluator(data).evaluate_results(tmp_path / "out" / "panoptic.json")["all"] == scores["all"]
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.2 .* got 3"):
        PanopticEvaluator(data, category_ids=[1, 6, 4]).evaluate(Oracle(data))


def test_known_segments_leave_what_they_were_given() -> None:
    ids = torch.tensor([[1, 2, 0]], dtype=torch.int32)
    infos: list[dict[str, Any]] = [
        {"id": 1, "label": 0, "isthing": True, "area": 1, "score": 0.5},
        {"id": 2, "label": 1, "area": 1},
    ]
    kept, segments = known_segments(ids, infos, [7, None])
    assert kept.tolist() == [[1, 0, 0]] and ids.tolist() == [[1, 2, 0]]
    assert segments == [{"id": 1, "category_id": 7, "area": 1, "score": 0.5}]


def test_bad_truth(data: CocoPanoptic) -> None:
    path = data.segments_path(3)
    ids = read_segment_ids(path).numpy().astype(np.int64)
    save_ids(path, np.where(ids == 5, 77, ids))
    save_ids(data.segments_path(4), ids[1:])
    left_out = len(data.segments_info(3)) + len(data.segments_info(4))
    evaluator = PanopticEvaluator(data, results_dir=data.annotations.parent / "out")
    with pytest.warns(UserWarning, match=rf"3 of 5 images can be used; .*3\.png.* without {left_out} segments") as told:
        scores = evaluator.evaluate(Oracle(data))
        evaluator.check()
    assert len(told) == 1
    assert scores["all"]["PQ"] == 1 and scores["images"] == 3 and scores["objects_left_out"] == left_out
    (finding,) = scores["findings"]
    assert finding["count"] == 2 and finding["effect"] == "left out"
    with pytest.warns(UserWarning, match="3 of 5 images"):
        again = PanopticEvaluator(data).evaluate_results(data.annotations.parent / "out" / "panoptic.json")
    assert {**again, "results": None} == {**{key: scores[key] for key in again if key != "results"}, "results": None}
    assert PanopticEvaluator(data).evaluate(Oracle(data), max_images=3)["objects_left_out"] == 0
    for index in range(5):
        data.segments_path(index).unlink()
    with pytest.raises(ValueError, match=r"0\.png: no such file; 5 of 5 images"):
        PanopticEvaluator(data).evaluate(nn.Identity())


def test_images_of_unknown_categories_are_counted(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=3)
    content = json.loads(path.read_text())
    segments = content["annotations"][1]["segments_info"]
    segments[0]["category_id"] = 999
    path.write_text(json.dumps(content))
    data = CocoPanoptic(path, tmp_path / "images")
    with pytest.warns(UserWarning, match="annotations that are left out: 1 .*999 is not among"):
        scores = PanopticEvaluator(data).evaluate(Oracle(data))
    assert scores["images"] == 2 and scores["objects_left_out"] == len(segments) and scores["findings"]


def test_ids_of_another_type_are_those_of_the_data(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=2)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        entry["image_id"] = str(entry["image_id"])
        for info in entry["segments_info"]:
            info["category_id"] = str(info["category_id"])
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"annotations": content["annotations"]}))
    (tmp_path / "results").symlink_to(path.with_suffix(""))
    data = CocoPanoptic(path, tmp_path / "images")
    assert PanopticEvaluator(data).evaluate_results(results)["all"]["PQ"] == 1
    text = CocoPanoptic.from_content(content, tmp_path / "images", path)
    (finding,) = text.findings.worst_first()
    assert finding.effect == "repaired" and finding.count == 2 + data.num_annotations


def test_bad_results(data: CocoPanoptic, tmp_path: Path) -> None:
    PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data))
    results = tmp_path / "out" / "panoptic.json"
    content = json.loads(results.read_text())

    def expect(message: str, annotations: Any) -> None:
        results.write_text(json.dumps({"annotations": annotations}))
        with pytest.raises(ValueError, match=message):
            PanopticEvaluator(data).evaluate_results(results)

    good = content["annotations"]
    expect("panoptic.json: expected results of each image, got none of 0, 3", [good[1], good[2], good[4]])
    expect("panoptic.json: expected one entry for each image, got two for image 2", [*good, good[2]])
    expect(r"annotations\[0\]: missing segments_info", [{"image_id": 0, "file_name": "0.png"}, *good[1:]])
    expect("panoptic.json: expected a list under 'annotations'", None)
    first = good[0]["segments_info"]
    expect("image 0: prediction: .* got none for 1", [{**good[0], "segments_info": first[1:]}, *good[1:]])
    wrong = [{**first[0], "category_id": 5}, *first[1:]]
    expect(
        "image 0: prediction: expected category ids of the data, got 5",
        [{**good[0], "segments_info": wrong}, *good[1:]],
    )
    more = [*first, {"id": 99, "category_id": 1}]
    expect("image 0: prediction: .* got none for 99", [{**good[0], "segments_info": more}, *good[1:]])
    expect(r"annotations\[0\]: image_id: expected .* got \[0\]", [{**good[0], "image_id": [0]}, *good[1:]])
    expect(
        r"annotations\[0\]: file_name: expected text that can name a file, of at most .*, got 5",
        [{**good[0], "file_name": 5}, *good[1:]],
    )
    for field, value in (("id", [1]), ("id", "1"), ("id", None), ("category_id", {})):
        bad = {**good[0], "segments_info": [*first[:1], {**first[1], field: value}, *first[2:]]}
        expect(
            rf"panoptic.json: annotations\[0\].segments_info\[1\]: {field}: expected a whole number", [bad, *good[1:]]
        )
    text = [{**info, "category_id": str(info["category_id"])} for info in first]  # an id may be written as text
    results.write_text(json.dumps({"annotations": [{**good[0], "segments_info": text}, *good[1:]]}))
    assert PanopticEvaluator(data).evaluate_results(results)["all"]["PQ"] == 1
    expect("nowhere.png: no such file", [{**good[0], "file_name": "nowhere.png"}, *good[1:]])
    save_ids(tmp_path / "out" / "panoptic" / good[0]["file_name"], np.ones((8, 9), int))
    expect("image 0: expected predicted segments of 64 x 64 pixels .* got 8 x 9", good)
    results.write_text("[")
    with pytest.raises(ValueError, match="not a JSON file"):
        PanopticEvaluator(data).evaluate_results(results)
    with pytest.raises(ValueError, match=r"missing\.json: no such file"):
        PanopticEvaluator(data).evaluate_results(tmp_path / "missing.json")


def test_results_of_other_images(data: CocoPanoptic, tmp_path: Path) -> None:
    PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data))
    results = tmp_path / "out" / "panoptic.json"
    content = json.loads(results.read_text())

    def score(*images: Any) -> float:
        results.write_text(json.dumps({**content, "images": images}))
        return PanopticEvaluator(data).evaluate_results(results)["all"]["PQ"]

    assert score({"id": 0, "file_name": "elsewhere/0.jpg"}, {"id": 77, "file_name": "77.jpg"}) == 1
    with pytest.raises(
        ValueError, match=r"panoptic.json: image 2: expected results of '2\.jpg' .* got 'elsewhere/1\.jpg'"
    ):
        score({"id": 0, "file_name": "0.jpg"}, {"id": 2, "file_name": "elsewhere/1.jpg"})
    with pytest.raises(
        ValueError, match=r"images\[0\]: file_name: expected text that can name a file, of at most .*, got None"
    ):
        score({"id": 0, "file_name": None})


def test_text_as_image_ids(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=3)
    content = json.loads(path.read_text())
    ids = ["../a/b", "..%2Fa%2Fb", ".._a_b"]
    for entry, annotation, image_id in zip(content["images"], content["annotations"], ids, strict=True):
        entry["id"] = annotation["image_id"] = image_id
    path.write_text(json.dumps(content))
    data = CocoPanoptic(path, tmp_path / "images")
    assert sorted(data.image_ids) == sorted(map(str, ids))
    assert PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data))["all"]["PQ"] == 1
    assert len(list((tmp_path / "out" / "panoptic").iterdir())) == 3
    assert PanopticEvaluator(data).evaluate_results(tmp_path / "out" / "panoptic.json")["all"]["PQ"] == 1


def test_names_of_png_files() -> None:
    assert png_name(139) == "000000000139.png" and png_name("a_b-1.c") == "a_b-1.c.png"
    assert png_name("a/b\\c") == "a%2Fb%5Cc.png"


def test_the_ground_truth_is_not_overwritten(data: CocoPanoptic, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link", tmp_path / "images" / ".."):
        with pytest.raises(ValueError, match=r"panoptic\.json: expected results elsewhere"):
            PanopticEvaluator(data, results_dir=folder).evaluate(nn.Identity())
    data.annotations = data.annotations.rename(tmp_path / "truth.json")
    with pytest.raises(ValueError, match="panoptic: expected results elsewhere"):
        PanopticEvaluator(data, results_dir=tmp_path).evaluate(nn.Identity())
    data.annotations.rename(tmp_path / "panoptic.json")
    (tmp_path / "link").unlink()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_negative_number_of_images(data: CocoPanoptic) -> None:
    with pytest.raises(ValueError, match="max_images: expected at least 0 .* got -1"):
        PanopticEvaluator(data).evaluate(nn.Identity(), max_images=-1)
    with pytest.raises(ValueError, match="max_images: expected at least 0 .* got -1"):
        PanopticEvaluator(data).evaluate_results(data.annotations, max_images=-1)


def test_png_files_beside_the_results(tmp_path: Path) -> None:
    ids = torch.tensor([[3, 0]], dtype=torch.int32)
    segment = {"id": 3, "label": 0, "isthing": False, "area": 1}
    entry = write_panoptic_result(ids, [segment], [8], 4, tmp_path / "deep" / "a.png")
    expected = {"image_id": 4, "file_name": "a.png", "segments_info": [{"id": 3, "category_id": 8, "area": 1}]}
    assert entry == expected
    results = tmp_path / "deep" / "results.json"
    results.write_text(json.dumps({"annotations": [entry]}))
    ((path, segments),) = read_panoptic_results(results).values()
    assert read_segment_ids(path).tolist() == [[3, 0]] and segments == entry["segments_info"]


@pytest.mark.parametrize("kind", ["things", "stuff", "segments"])
def test_data_without(kind: str, tmp_path: Path) -> None:
    truth = write_panoptic(tmp_path, images=2)
    content = json.loads(truth.read_text())
    gone = {category["id"] for category in PANOPTIC_CATEGORIES if category["isthing"] == (kind == "things")}
    if kind == "segments":
        gone = {category["id"] for category in PANOPTIC_CATEGORIES}
    else:
        content["categories"] = [category for category in content["categories"] if category["id"] not in gone]
    for annotation in content["annotations"]:
        path = tmp_path / "panoptic" / annotation["file_name"]
        ids = read_segment_ids(path).numpy().astype(np.int64)
        left = [info for info in annotation["segments_info"] if info["category_id"] not in gone]
        save_ids(path, np.where(np.isin(ids, [info["id"] for info in left]), ids, 0))
        annotation["segments_info"] = left
    truth.write_text(json.dumps(content))
    data = CocoPanoptic(truth, tmp_path / "images")
    scores = PanopticEvaluator(data).evaluate(Oracle(data))
    assert scores["all"]["categories"] == (0 if kind == "segments" else 2)
    for group in ("things", "stuff"):
        empty = kind in (group, "segments")
        assert math.isnan(scores[group]["PQ"]) if empty else scores[group]["PQ"] == 1


def test_things_and_stuff_are_matched_apart(data: CocoPanoptic) -> None:
    names = {"num_classes": 3, "class_names": ("disc", "cat", "rectangle"), "stuff_names": ("sky", "sea", "ground")}
    config = tiny_panoptic_config(**names)
    assert match_classes(data.classes, config.classes, stuff=True) == [6, None, 1, 9, None, 4]
    # without names by order, where there are as many
    assert match_classes(data.classes, config.replace(num_stuff_classes=2).classes, stuff=True) == [6, None, 1, 4, 9]
    with pytest.raises(
        ValueError, match="a model of 2 classes of stuff, .* got one of 3; it does not know .*4 .ground"
    ):
        match_classes(data.classes, config.replace(stuff_names=("sky", "sea", "sand")).classes, stuff=True)


def _evaluate(folder: Path, name: str) -> None:
    """Evaluates a model on the data of a folder and writes its scores, without times, and its results."""
    data = CocoPanoptic(folder / "panoptic.json", folder / "images")
    scores = PanopticEvaluator(data, results_dir=folder / name.rstrip("01")).evaluate(Oracle(data, shift=3))
    assert scores.pop("timing")["total"] > 0
    (folder / f"{name}.json").write_text(json.dumps(json_ready(scores)))


def _process(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", init_method=(folder / "store").as_uri(), rank=rank, world_size=NUM_PROCESSES)
    _evaluate(folder, f"rank{rank}")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="this torch has no torch.distributed")
def test_processes_that_share_the_images(tmp_path: Path) -> None:
    write_panoptic(tmp_path, images=5)
    (tmp_path / "images" / "3.jpg").unlink()
    _evaluate(tmp_path, "alone")
    spawn(_process, (tmp_path,), nprocs=NUM_PROCESSES)

    alone = json.loads((tmp_path / "alone.json").read_text())
    assert [failure["image_id"] for failure in alone["failed"]] == [3]
    assert 0 < alone["all"]["PQ"] < 1
    for rank in range(NUM_PROCESSES):
        assert json.loads((tmp_path / f"rank{rank}.json").read_text()) == alone
    written = [path.relative_to(tmp_path / "alone") for path in sorted((tmp_path / "alone").rglob("*.*"))]
    assert len(written) == 6
    for path in written:
        assert (tmp_path / "rank" / path).read_bytes() == (tmp_path / "alone" / path).read_bytes()


def test_results_survive_a_failing_comparison(
    data: CocoPanoptic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        if args[1] == 2:
            raise KeyError("info")

    monkeypatch.setattr(panoptic, "_compare", fail)
    with pytest.raises(KeyError):
        PanopticEvaluator(data, results_dir=tmp_path / "out").evaluate(Oracle(data))
    rows = json.loads((tmp_path / "out" / "panoptic.json").read_text())["annotations"]
    assert [row["image_id"] for row in rows] == data.image_ids[:3]
    assert all((tmp_path / "out" / "panoptic" / row["file_name"]).is_file() for row in rows)
