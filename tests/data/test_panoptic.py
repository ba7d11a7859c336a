from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids, write_segment_ids
from condinst.geometry import boxes_of_masks

from .synthetic import save_ids, write_panoptic

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "panoptic-sample"
HEIGHT, WIDTH = 8, 12
CATEGORIES = [
    {"id": 200, "name": "grass", "isthing": 0},
    {"id": 90, "name": "dog", "isthing": 1},
    {"id": 3, "name": "cat", "isthing": 1},
    {"id": 50, "name": "sky", "isthing": 0},
]


def make_ids() -> np.ndarray:
    """Two cats, one in two pieces, a dog, a crowd of dogs, sky, grass and void."""
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[:3] = 1000
    ids[4:] = 70_001
    ids[1:5, 1:3] = 11
    ids[1:5, 5:7] = 11
    ids[2:4, 3:5] = 12
    ids[5:7, 8:11] = 13
    ids[0:2, 9:12] = 14
    return ids


INFOS = [
    {"id": 13, "category_id": 90, "iscrowd": 0},
    {"id": 1000, "category_id": 50, "iscrowd": 0},
    {"id": 11, "category_id": 3, "iscrowd": 0},
    {"id": 12, "category_id": 3, "iscrowd": 0},
    {"id": 14, "category_id": 90, "iscrowd": 1},
    {"id": 70_001, "category_id": 200, "iscrowd": 0},
]


def make_content() -> dict[str, Any]:
    return copy.deepcopy(
        {
            "images": [{"id": 8, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "annotations": [{"image_id": 8, "file_name": "a.png", "segments_info": INFOS}],
            "categories": CATEGORIES,
        }
    )


def make_data(folder: Path, ids: np.ndarray | None = None, content: dict[str, Any] | None = None) -> CocoPanoptic:
    path = folder / "panoptic_mine.json"
    path.write_text(json.dumps(make_content() if content is None else content))
    (folder / "panoptic_mine").mkdir(exist_ok=True)
    save_ids(folder / "panoptic_mine" / "a.png", make_ids() if ids is None else ids)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.jpg")
    return CocoPanoptic(path, folder)


def test_an_item(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    assert (data.classes.category_ids, data.classes.class_names) == ((3, 90), ("cat", "dog"))
    assert (data.classes.stuff_category_ids, data.classes.stuff_names) == ((50, 200), ("sky", "grass"))
    assert len(data) == 1 and data.image_ids == [8] and data.num_annotations == 6
    assert data.segments_dir == tmp_path / "panoptic_mine" and data.segments_path(0).is_file()
    assert data.aspect_ratios().tolist() == [1.5] and data.image_size(0) == (HEIGHT, WIDTH)
    image, target = data[0]
    ids = torch.from_numpy(make_ids())
    assert image.shape == (3, HEIGHT, WIDTH) and target["image_id"] == 8
    assert target["labels"].tolist() == [1, 0, 0] and target["labels"].dtype == torch.int64
    assert torch.equal(target["masks"], torch.stack([ids == 13, ids == 11, ids == 12]))
    assert target["boxes"].tolist() == [[8, 5, 11, 7], [1, 1, 7, 5], [3, 2, 5, 4]]
    assert target["boxes"].dtype == torch.float32
    labels = {0: -1, 11: 0, 12: 0, 13: 1, 14: 1, 1000: 2, 70_001: 3}  # the crowd counts as dogs
    assert target["semantic"].dtype == torch.int16
    assert target["semantic"].tolist() == [[labels[number] for number in row] for row in ids.tolist()]


def test_segments(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    ids, infos = data.segments(0)
    assert ids.dtype == torch.int32 and torch.equal(ids.long(), torch.from_numpy(make_ids()))
    assert [info["id"] for info in infos] == [13, 1000, 11, 12, 14, 70_001]
    assert [info["area"] for info in infos] == [int((ids == info["id"]).sum()) for info in infos]
    assert infos[4] == {"id": 14, "category_id": 90, "iscrowd": 1, "area": 6, "label": 1, "isthing": True}
    assert [info["isthing"] for info in infos] == [True, False, True, True, True, False]


def test_objects_near_a_window(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    whole = data.objects(0)
    near = data.objects(0, (7, 0, 12, 8))
    assert near.labels.tolist() == [1] and near.boxes.tolist() == [[8, 5, 11, 7]] and len(near.segmentations) == 1
    assert near.semantic is not None and whole.semantic is not None and torch.equal(near.semantic, whole.semantic)
    assert len(data.objects(0, (3, 2, 4, 3)).labels) == 2  # also the cat that lies on both sides of it
    assert len(data.objects(0, (0, 7, 12, 8)).labels) == 0


def test_content_and_other_folders(tmp_path: Path) -> None:
    made = make_data(tmp_path)
    content = make_content()
    for info in content["annotations"][0]["segments_info"]:
        del info["iscrowd"]
    data = CocoPanoptic.from_content(content, tmp_path, tmp_path / "memory.json", tmp_path / "panoptic_mine")
    assert len(data[0][1]["labels"]) == 4  # without iscrowd, no crowds
    assert made.segments_path(0) == data.segments_path(0)
    assert CocoPanoptic.from_content(content, tmp_path, tmp_path / "b.json").segments_dir == tmp_path / "b"
    assert CocoPanoptic(made.annotations, tmp_path, tmp_path / "c").segments_dir == tmp_path / "c"


def test_unlisted_ids_are_void_where_the_content_says_so(tmp_path: Path) -> None:
    content = make_content()
    del content["annotations"][0]["segments_info"][0]
    with pytest.raises(ValueError, match=r"a\.png: segment ids that .*panoptic_mine\.json lacks: 13$"):
        make_data(tmp_path, content=content).segments(0)
    data = make_data(tmp_path, content={**content, "unlisted_ids_are_void": True})
    ids, infos = data.segments(0)
    own = torch.from_numpy(make_ids() == 13)
    assert len(infos) == 5 and (ids[own] == 0).all() and (data[0][1]["semantic"][own] == -1).all()


@pytest.mark.parametrize(("isthing", "labels"), [(0, []), (1, [1, 0, 0, 2, 3, 0])])
def test_no_things_or_no_stuff(tmp_path: Path, isthing: int, labels: list[int]) -> None:
    content = make_content()
    for category, other in zip(content["categories"], (3, 1, 0, 2), strict=True):
        category |= {"isthing": isthing, "id": other}
    for info, number in zip(content["annotations"][0]["segments_info"], (1, 2, 0, 0, 1, 3), strict=True):
        info |= {"category_id": number}
    content["annotations"][0]["segments_info"][4]["iscrowd"] = 0
    data = make_data(tmp_path, content=content)
    assert (len(data.classes.class_names), len(data.classes.stuff_names)) == ((4, 0) if isthing else (0, 4))
    target = data[0][1]
    assert target["semantic"].unique().tolist() == [-1, 0, 1, 2, 3]
    assert len(target["labels"]) == len(target["masks"]) == len(target["boxes"]) == (6 if isthing else 0)


def test_only_void(tmp_path: Path) -> None:
    content = make_content()
    content["annotations"][0]["segments_info"] = []
    data = make_data(tmp_path, np.zeros((HEIGHT, WIDTH), np.int64), content)
    ids, infos = data.segments(0)
    assert not ids.any() and infos == [] and data.num_annotations == 0
    target = data[0][1]
    assert (target["semantic"] == -1).all() and target["masks"].shape == (0, HEIGHT, WIDTH)
    assert target["boxes"].shape == (0, 4) and target["labels"].dtype == torch.int64


def test_ids_of_the_json_that_the_png_lacks(tmp_path: Path) -> None:
    ids = make_ids()
    ids[ids == 12] = ids[ids == 1000] = 0
    data = make_data(tmp_path, ids)
    for read in (data.segments, data.objects, data.target):
        with pytest.raises(ValueError, match=r"a\.png: no pixel of the segment ids 12, 1000 of .*panoptic_mine\.json"):
            read(0)


def test_many_wrong_ids_are_counted(tmp_path: Path) -> None:
    ids = np.arange(100_000, 100_000 + HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="lacks: 100000, 100001, 100002, 100003, 100004 and 91 more"):
        make_data(tmp_path, ids).segments(0)


def test_other_sizes_and_missing_files_are_named(tmp_path: Path) -> None:
    data = make_data(tmp_path, make_ids()[:, :-1])
    with pytest.raises(ValueError, match=r"a\.png: expected 8 x 12 pixels .* got 8 x 11"):
        data.segments(0)
    save_ids(data.segments_path(0), make_ids().T)
    with pytest.raises(ValueError, match=r"a\.png: expected 8 x 12 pixels .* got 12 x 8"):
        data.objects(0)
    Image.new("RGB", (WIDTH, HEIGHT - 1)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: expected 8 x 12 pixels"):
        data.image(0)
    data.segments_path(0).unlink()
    with pytest.raises(ValueError, match=r"a\.png: no such file"):
        data.segments(0)


def test_all_png_files_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def note(path: Path) -> torch.Tensor:
        read.append(path.name)
        return read_segment_ids(path)

    monkeypatch.setattr("condinst.data.panoptic.read_segment_ids", note)
    data = CocoPanoptic(write_panoptic(tmp_path, images=6), tmp_path / "images")
    paths = [data.segments_path(index) for index in range(6)]
    good = [path.read_bytes() for path in paths]
    paths[2].write_bytes(good[2][:60])
    save_ids(paths[3], np.zeros((64, 63), np.int64))
    save_ids(paths[4], np.zeros((64, 64), np.int64))
    assert data.check_segments(2) == {}
    assert sorted(read) == ["0.png", "1.png"]
    assert list(data.check_segments(3)) == [2]
    problems = data.check_segments(6)
    assert list(problems) == [2, 3, 4] and "2.png: damaged" in problems[2]
    assert "3.png: expected 64 x 64 pixels" in problems[3] and "4.png: no pixel" in problems[4]
    for index in (2, 3, 4):
        paths[index].write_bytes(good[index])
    assert data.check_segments(6) == {}
    read.clear()
    assert data.check_segments(6) == {} and read == []
    paths[5].unlink()
    assert "5.png: no such file" in data.check_segments(6)[5]
    for path in paths[:5]:
        path.unlink()
    with pytest.raises(ValueError, match=r"0\.png: no such file; 6 of 6 images have no PNG"):
        data.check_segments(6)


def drop(key: str, *path: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for step in path:
            content = content[step]
        del content[key]

    return change


def assign(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("annotations"), "expected a list under 'annotations', as in a COCO panoptic file"),
        (drop("isthing", "categories", 1), r"categories\[1\]: missing isthing"),
        (drop("segments_info", "annotations", 0), r"annotations\[0\]: missing segments_info of a COCO panoptic file"),
        (
            drop("category_id", "annotations", 0, "segments_info", 2),
            r"image 8: segments_info\[2\]: missing category_id",
        ),
        (assign(None, "annotations", 0, "segments_info"), "expected a list under 'image 8: segments_info'"),
        (assign(7, "annotations", 0, "segments_info", 2, "category_id"), "image 8.*id 11: category_id 7 is not among"),
        (assign(12, "annotations", 0, "segments_info", 2, "id"), "image 8: segments_info: ids that are used twice: 12"),
        (
            assign(0, "annotations", 0, "segments_info", 2, "id"),
            r"image 8: .*\[2\]: id: expected a whole number of at .* got 0",
        ),
        (
            assign("5", "annotations", 0, "segments_info", 2, "id"),
            r"image 8: .*\[2\]: id: expected a whole number of at .* got '5'",
        ),
        (assign(9, "annotations", 0, "image_id"), r"annotations\[0\]: image_id 9 is not among the images"),
        (assign([], "annotations"), "images without an annotation: 8"),
        (
            lambda content: content["annotations"].append(content["annotations"][0]),
            "annotations: image_id that are used twice: 8",
        ),
        (assign([1], "annotations", 0, "segments_info", 2, "id"), r"image 8: .*\[2\]: id: expected .* got \[1\]"),
        (
            assign([1], "annotations", 0, "segments_info", 2, "category_id"),
            r".*\[2\]: category_id: expected .* got \[1\]",
        ),
        (
            assign("yes", "annotations", 0, "segments_info", 2, "iscrowd"),
            r".*\[2\]: iscrowd: expected 0 or 1, got 'yes'",
        ),
        (
            assign(None, "annotations", 0, "file_name"),
            r"annotations\[0\]: file_name: expected text that can name a file, of at most .*, got None",
        ),
        (
            assign(7, "images", 0, "file_name"),
            r"images\[0\]: file_name: expected text that can name a file, of at most .*, got 7",
        ),
        (assign([8], "images", 0, "id"), r"images\[0\]: id: expected a whole number or text, got \[8\]"),
        (
            assign({}, "annotations", 0, "image_id"),
            r"annotations\[0\]: image_id: expected a whole number or text, got {}",
        ),
        (assign("no", "categories", 1, "isthing"), r"categories\[1\]: isthing: expected 0 or 1, got 'no'"),
        (
            lambda content: content["images"].append({**content["images"][0], "id": "8"}),
            "images: id that are used twice, as a number and as text: 8",
        ),
        (lambda content: content["images"].append(content["images"][0]), "images: id that are used twice: 8"),
        (assign(3, "categories", 0, "id"), "categories: id that are used twice: 3"),
    ],
)
def test_bad_files(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    content = make_content()
    change(content)
    with pytest.raises(ValueError, match=rf"panoptic_mine\.json: {message}"):
        make_data(tmp_path, content=content)


def test_no_json_and_no_panoptic_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: no such file"):
        CocoPanoptic(tmp_path / "none.json", tmp_path)
    with pytest.raises(ValueError, match="memory: expected a JSON object"):
        CocoPanoptic.from_content([], tmp_path, "memory")
    path = write_panoptic(tmp_path / "made", images=1)
    with pytest.raises(ValueError, match=r"annotations\[0\]: missing id, .* of a COCO instances file"):
        CocoInstances(path, tmp_path / "made" / "images")


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of COCO panoptic is not in ../shared")
def test_real_images(tmp_path: Path) -> None:
    data = CocoPanoptic(SAMPLE / "panoptic_examples.json", SAMPLE / "input_images")
    assert len(data.classes.class_names) == 80 and len(data.classes.stuff_names) == 53
    categories = json.loads((SAMPLE / "panoptic_coco_categories.json").read_text())
    names = {category["id"]: category["name"] for category in categories}
    assert [names[number] for number in data.classes.category_ids] == list(data.classes.class_names)
    assert [names[number] for number in data.classes.stuff_category_ids] == list(data.classes.stuff_names)
    assert [len(data.segments(index)[1]) for index in range(2)] == [18, 32]
    for index in range(2):
        ids, infos = data.segments(index)
        known = data.segments_info(index)
        assert [info["area"] for info in infos] == [info["area"] for info in known]
        target = data.target(index)
        objects = [info for info in known if data.is_object(info)]
        x, y, width, height = torch.tensor([info["bbox"] for info in objects]).unbind(1)
        assert target["boxes"].tolist() == torch.stack([x, y, x + width, y + height], 1).tolist()
        assert torch.equal(target["boxes"], boxes_of_masks(target["masks"]))
        assert target["masks"].sum(0).max() == 1
        with Image.open(data.segments_path(index)) as original:
            pixels = np.array(original)
        write_segment_ids(read_segment_ids(data.segments_path(index)), tmp_path / "again.png")
        with Image.open(tmp_path / "again.png") as again:
            assert again.mode == "RGB" and np.array_equal(np.array(again), pixels)
