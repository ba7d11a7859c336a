"""`Predictions`: what `model.predict` gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from condinst import Classes, CondInst
from condinst.data.panoptic_png import read_segment_ids
from condinst.models.config import CondInstConfig
from condinst.models.panoptic_prediction import PanopticPrediction
from condinst.models.predictions import Predictions
from condinst.visualization import draw_panoptic
from tests.models.tiny import make_image, tiny_panoptic_config


class FakeModel(nn.Module):
    """Finds two objects in every image: its left half, and its top left pixel."""

    config = CondInstConfig().replace(num_classes=2, class_names=("cat", "dog"), score_threshold=0.3)
    device = torch.device("cpu")
    predict = CondInst.predict

    def forward(self, images: list[Tensor], mask_format: str, panoptic: bool) -> list[dict[str, Any]]:
        assert not self.training and mask_format == "rle" and not panoptic
        (image,) = images
        assert image.dtype == torch.uint8
        _, height, width = image.shape
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, :, : width // 2] = True
        masks[1, 0, 0] = True
        return [
            {
                "boxes": torch.tensor([[0.0, 0, width // 2, height], [0.25, 0, 1, 1]]),
                "scores": torch.tensor([0.9, 0.5]),
                "labels": torch.tensor([1, 0]),
                "rles": [coco_mask.encode(np.asfortranarray(mask)) for mask in masks.to(torch.uint8).numpy()],
            }
        ]


def _predict(source: Any, score_threshold: float | None = None) -> Any:
    return FakeModel().predict(source, score_threshold=score_threshold)  # type: ignore[misc]


@pytest.fixture
def found() -> Predictions:
    predictions = _predict(torch.full((3, 6, 8), 7, dtype=torch.uint8))
    assert isinstance(predictions, Predictions)
    return predictions


def test_fields(found: Predictions) -> None:
    assert len(found) == 2
    assert found.image.shape == (3, 6, 8)
    assert found.boxes.tolist() == [[0, 0, 4, 6], [0.25, 0, 1, 1]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.labels.tolist() == [1, 0]
    assert found.masks.shape == (2, 6, 8)
    assert repr(found) == "Predictions(1 dog, 1 cat; scores 0.50 to 0.90; image 8 x 6)"


def test_rles_are_json_and_decode_to_the_masks(found: Predictions) -> None:
    rles = json.loads(json.dumps(found.rles))
    assert [rle["size"] for rle in rles] == [[6, 8], [6, 8]]
    decoded = np.stack([coco_mask.decode(rle) for rle in rles])
    np.testing.assert_array_equal(decoded, found.masks.numpy())


def test_masks_are_decoded_when_asked_for(found: Predictions) -> None:
    assert "masks" not in vars(found)
    expected = torch.zeros(2, 6, 8, dtype=torch.bool)
    expected[0, :, :4] = True
    expected[1, 0, 0] = True
    assert found.masks.dtype == torch.bool and torch.equal(found.masks, expected)
    assert found.masks is found.masks


def test_polygons(found: Predictions) -> None:
    (half,), (pixel,) = found.polygons
    assert sorted(zip(pixel[::2], pixel[1::2], strict=True)) == [(0, 0.5), (0.5, 0), (0.5, 1), (1, 0.5)]
    assert (min(half[::2]), max(half[::2]), min(half[1::2]), max(half[1::2])) == (0, 4, 0, 6)
    (code,) = coco_mask.frPyObjects([half], 6, 8)
    assert coco_mask.iou([code], [found.rles[0]], [0])[0, 0] > 0.99


def test_to_coco(found: Predictions) -> None:
    results = json.loads(json.dumps(found.to_coco(42)))
    assert [row["category_id"] for row in results] == [2, 1]
    assert [row["image_id"] for row in results] == [42, 42]
    assert results[1]["bbox"] == [0.25, 0, 0.75, 1]
    assert results[0]["score"] == pytest.approx(0.9)
    assert [row["segmentation"] for row in results] == found.rles
    assert [row["category_id"] for row in found.to_coco(42, [90, 17])] == [17, 90]
    of_coco_model = dataclasses.replace(found, classes=found.classes.replace(category_ids=(3, 88)))
    assert [row["category_id"] for row in of_coco_model.to_coco(42)] == [88, 3]
    with pytest.raises(ValueError, match="category_ids: expected an id for each of 2 labels, got 1"):
        found.to_coco(42, [90])


def test_plot_and_save(found: Predictions, tmp_path: Path) -> None:
    picture = found.plot()
    assert picture.size == (8, 6)
    found.save(tmp_path / "new" / "overlay.png")
    with Image.open(tmp_path / "new" / "overlay.png") as saved:
        assert saved.tobytes() == picture.tobytes()
    found.save(str(tmp_path / "overlay.jpg"))
    assert (tmp_path / "overlay.jpg").exists()


def test_nothing_found() -> None:
    empty = Predictions(
        image=torch.zeros(3, 4, 5, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.int64),
        rles=[],
    )
    assert len(empty) == 0 and empty.masks.shape == (0, 4, 5) and empty.polygons == [] and empty.to_coco(1) == []
    assert empty.plot().size == (5, 4)
    assert repr(empty) == "Predictions(nothing found, image 5 x 4)"


def test_sources(tmp_path: Path) -> None:
    pixels = np.full((6, 8, 3), 7, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), pixels, Image.fromarray(pixels)):
        assert _predict(source).image.unique().tolist() == [7]
    several = _predict([pixels, tmp_path / "a.png"])
    assert [len(one) for one in several] == [2, 2]
    assert _predict([]) == []


def test_score_threshold_is_on_the_reported_score() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    assert len(_predict(image, 0.3)) == 2
    kept = _predict(image, 0.5)  # at the threshold: dropped
    assert kept.labels.tolist() == [1] and len(kept.masks) == len(kept.boxes) == len(kept.scores) == 1
    assert len(_predict(image, 1.0)) == 0


@pytest.mark.parametrize("threshold", [0.29, -1, 1.1, float("nan")])
def test_bad_score_threshold(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"score_threshold: expected 0\.3 \(the model's own\) to 1, got"):
        _predict(np.zeros((6, 8, 3), np.uint8), threshold)


def test_numbers_of_other_libraries_become_plain(found: Predictions) -> None:
    plain = found.to_coco(42, [7, 9])
    for category_ids in (np.array([7, 9]), torch.tensor([7, 9]), [np.int64(7), torch.tensor(9)]):
        for image_id in (np.int32(42), torch.tensor(42)):
            rows = found.to_coco(image_id, category_ids)  # type: ignore[arg-type]
            assert json.dumps(rows) == json.dumps(plain)


def test_mode_is_left_as_it_was() -> None:
    model = FakeModel().train()
    model.predict(np.zeros((6, 8, 3), np.uint8))  # type: ignore[misc]
    assert model.training


def test_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        _predict(tmp_path / "none.png")


class FakePanopticModel(FakeModel):
    """Also knows sky and sea: the right half is sky, but for a void column; the cat is hidden."""

    config = CondInstConfig().replace(
        num_classes=2, class_names=("cat", "dog"), category_ids=(1, 2), score_threshold=0.3, panoptic=True,
        num_stuff_classes=2, stuff_names=("sky", "sea"), stuff_category_ids=(7, 9),
        fpn_in_features=("res2", "res3", "res4", "res5"),
    )  # fmt: skip

    def forward(self, images: list[Tensor], mask_format: str, panoptic: bool) -> list[dict[str, Any]]:
        (result,) = super().forward(images, mask_format, False)
        if panoptic:
            _, height, width = images[0].shape
            ids = torch.full((height, width), 2, dtype=torch.int32)
            ids[:, : width // 2] = 1
            ids[:, -1] = 0
            areas = [int((ids == segment).sum()) for segment in (1, 2)]
            infos = [
                {"id": 1, "label": 1, "isthing": True, "area": areas[0], "score": 0.9},
                {"id": 2, "label": 2, "isthing": False, "area": areas[1]},
            ]
            result["panoptic"] = {"ids": ids, "segments_info": infos}
        return [result]


@pytest.fixture
def segmented() -> PanopticPrediction:
    image = torch.full((3, 6, 8), 7, dtype=torch.uint8)
    found = FakePanopticModel().predict(image)  # type: ignore[misc]
    assert isinstance(found.panoptic, PanopticPrediction)
    return found.panoptic


def test_panoptic_fields(segmented: PanopticPrediction) -> None:
    assert len(segmented) == 2 and segmented.num_things == 1
    assert segmented.ids[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 0] and segmented.image.unique().tolist() == [7]
    assert segmented.classes == FakePanopticModel.config.classes
    assert segmented.void_fraction == 1 / 8
    assert repr(segmented) == "PanopticPrediction(1 dog, 1 sky; 12 % void; image 8 x 6)"


def test_panoptic_repr_counts_things_first_and_tells_little_void_from_none() -> None:
    labels = [(3, False), (0, True), (1, True), (1, True)]
    infos = [{"id": i, "label": label, "isthing": thing, "area": 1} for i, (label, thing) in enumerate(labels, start=1)]
    ids = torch.ones(20, 30, dtype=torch.int32)
    found = PanopticPrediction(torch.zeros(3, 20, 30, dtype=torch.uint8), ids, infos, FakePanopticModel.config.classes)
    assert repr(found) == "PanopticPrediction(2 dog, 1 cat, 1 sea; 0 % void; image 30 x 20)"
    ids[0, 0] = 0
    assert "; <1 % void;" in repr(found)
    nameless = PanopticPrediction(found.image, torch.zeros_like(ids), infos[:1])
    assert repr(nameless) == "PanopticPrediction(1 3; 100 % void; image 30 x 20)"
    assert "nothing found" in repr(PanopticPrediction(found.image, torch.zeros_like(ids), []))


def test_panoptic_plot_and_save(segmented: PanopticPrediction, tmp_path: Path) -> None:
    picture = segmented.plot()
    expected = draw_panoptic(segmented.image, segmented.ids, segmented.segments_info, ("cat", "dog", "sky", "sea"))
    assert picture.tobytes() == expected.tobytes()
    segmented.save(tmp_path / "new" / "overlay.png")
    with Image.open(tmp_path / "new" / "overlay.png") as saved:
        assert saved.tobytes() == picture.tobytes()


def test_panoptic_to_coco(segmented: PanopticPrediction, tmp_path: Path) -> None:
    path = tmp_path / "panoptic" / "a.png"
    entry = json.loads(json.dumps(segmented.to_coco(42, path)))
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]  # nothing half done beside it
    assert torch.equal(read_segment_ids(path), segmented.ids)
    assert entry["image_id"] == 42 and entry["file_name"] == "a.png"
    dog, sky = entry["segments_info"]
    assert dog == {"id": 1, "category_id": 2, "area": 24, "score": 0.9}
    assert sky == {"id": 2, "category_id": 7, "area": 18}

    def categories(found: PanopticPrediction, category_ids: list[int] | None = None) -> list[int]:
        segments = found.to_coco(42, path, category_ids)["segments_info"]
        return [segment["category_id"] for segment in segments]

    assert categories(segmented, [10, 20, 30, 40]) == [20, 30]
    assert categories(dataclasses.replace(segmented, classes=Classes())) == [2, 3]  # label + 1
    with pytest.raises(ValueError, match=r"expected labels in 0\.\.1 .*, got 2"):
        segmented.to_coco(42, path, [10, 20])


def test_the_score_threshold_leaves_the_panoptic_result_alone() -> None:
    image = torch.zeros(3, 6, 8, dtype=torch.uint8)
    found = FakePanopticModel().predict(image, score_threshold=1.0)  # type: ignore[misc]
    assert found.panoptic is not None
    assert len(found) == 0 and len(found.panoptic) == 2


def test_no_panoptic_result_where_none_is_wanted_or_known(found: Predictions) -> None:
    assert found.panoptic is None
    images = [torch.zeros(3, 6, 8, dtype=torch.uint8)]
    (without,) = FakePanopticModel().predict(images, panoptic=False)  # type: ignore[misc]
    assert without.panoptic is None and len(without) == 2


def test_real_model_has_the_method() -> None:
    import condinst

    config = condinst.load_config("condinst_nano").replace(
        min_size_test=64, max_size_test=64, score_threshold=0.0, max_detections=3
    )
    torch.manual_seed(0)
    model = condinst.CondInst(config).eval()
    found = model.predict(torch.zeros(3, 30, 40, dtype=torch.uint8))
    assert isinstance(found, Predictions)
    assert found.masks.shape == (len(found), 30, 40) and found.classes.class_names == ("nucleus",)


def test_real_panoptic_model() -> None:
    torch.manual_seed(0)
    model = CondInst(tiny_panoptic_config(panoptic_score_threshold=0.0))
    found = model.predict(make_image(60, 90))
    assert isinstance(found, Predictions) and found.panoptic is not None and len(found.panoptic) > 0
    assert found.panoptic.ids.shape == (60, 90)
    assert found.panoptic.classes.panoptic_names == ("disc", "square", "bar", "sky", "sea", "sand")
    for segment in found.panoptic.segments_info:
        assert segment["area"] == int((found.panoptic.ids == segment["id"]).sum()) > 0
    assert found.panoptic.plot().size == (90, 60)
