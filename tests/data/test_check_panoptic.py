from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from condinst.data.check import REFUSED, UNREADABLE
from condinst.data.check_panoptic import (
    NO_SEGMENTS,
    NO_THING_CATEGORIES,
    OTHER_SEGMENTS,
    UNREADABLE_SEGMENTS,
    PanopticReport,
    check_panoptic,
)
from condinst.data.panoptic import CocoPanoptic
from condinst.data.panoptic_png import read_segment_ids
from tests.command import run_command

from .synthetic import PANOPTIC_CATEGORIES, save_ids, write_panoptic

SIDE = 48


def check(path: Path, content: Any = None) -> PanopticReport:
    """Checks the data set of `write_panoptic`, with other content if there is some."""
    if content is not None:
        path.write_text(json.dumps(content))
    return check_panoptic(CocoPanoptic(path, path.parent / "images"))


def kinds(report: PanopticReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_counts(tmp_path: Path) -> None:
    report = check(write_panoptic(tmp_path, images=4, side=SIDE))
    assert (report.num_images, report.num_things, report.most_things) == (4, 8, 2)
    assert (report.num_stuff, report.num_crowds) == (8, 2)
    assert report.image_sizes == {"smallest": (SIDE, SIDE), "largest": (SIDE, SIDE)}
    assert not report.findings and not report.breaks_training
    found = [(one["id"], one["name"], one["isthing"], one["segments"]) for one in report.categories]
    assert found == [(1, "rectangle", True, 6), (6, "disc", True, 4), (4, "ground", False, 4), (9, "sky", False, 4)]
    ids = np.stack([read_segment_ids(tmp_path / "panoptic" / f"{number}.png").numpy() for number in range(4)])
    assert report.void_share == np.mean(ids == 0) > 0
    assert report.categories[3]["share"] == np.mean(ids == 70_000)
    assert report.void_share + sum(one["share"] for one in report.categories) == pytest.approx(1)


def test_what_the_png_does_not_tell_alike(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=2, side=SIDE)
    content = json.loads(path.read_text())
    info = content["annotations"][0]["segments_info"]
    info[0]["area"] += 1
    info[2]["bbox"][3] += 1
    del info[1]["area"], info[1]["bbox"]
    report = check(path, content)
    assert kinds(report) == {"areas unlike the pixels": 1, "boxes unlike the pixels": 1} and not report.breaks_training
    examples = [finding.examples[0] for finding in report.findings]
    assert "segment 70000 of image 0: " in examples[0] and "segment 5 of image 0: " in examples[1]


def test_what_is_left_out(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=6, side=SIDE)
    segments = tmp_path / "panoptic"
    (tmp_path / "images" / "0.jpg").unlink()
    (segments / "0.png").unlink()
    save_ids(segments / "1.png", np.zeros((SIDE, SIDE - 1), np.int64))
    (segments / "2.png").write_bytes((segments / "2.png").read_bytes()[:60])
    ids = read_segment_ids(segments / "3.png").numpy().astype(np.int64)
    ids[ids == 5] = 77
    save_ids(segments / "3.png", ids)
    save_ids(segments / "4.png", np.zeros_like(ids))
    report = check(path)
    assert not report.breaks_training  # the last image is left
    assert kinds(report) == {UNREADABLE: 1, UNREADABLE_SEGMENTS: 3, OTHER_SEGMENTS: 2, "images that are all void": 1}
    examples = {finding.kind: " ".join(finding.examples) for finding in report.findings}
    assert all(text in examples[UNREADABLE_SEGMENTS] for text in ("0.png: no such", "1.png: exp", "2.png: dam"))
    assert (
        "3.png: segment ids that" in examples[OTHER_SEGMENTS]
        and ": 77; no pixel of the segment ids 5 of" in examples[OTHER_SEGMENTS]
    )
    assert "4.png: no pixel of the segment ids 5, 300" in examples[OTHER_SEGMENTS]


def test_nothing(tmp_path: Path) -> None:
    nothing = CocoPanoptic.from_content({"images": [], "annotations": [], "categories": []}, tmp_path, "memory")
    found = kinds(check_panoptic(nothing))
    assert found == dict.fromkeys((REFUSED, NO_SEGMENTS, NO_THING_CATEGORIES, "no things", "no stuff"), 1)


@pytest.mark.parametrize("isthing", [0, 1])
def test_no_things_or_no_stuff(tmp_path: Path, isthing: int) -> None:
    path = write_panoptic(tmp_path, images=1, side=SIDE)
    content = json.loads(path.read_text())
    content["categories"] = [{**category, "isthing": isthing} for category in PANOPTIC_CATEGORIES]
    report = check(path, content)
    assert kinds(report) == ({"no stuff": 1} if isthing else {REFUSED: 1, NO_THING_CATEGORIES: 1, "no things": 1})
    assert report.breaks_training == (not isthing)


def test_only_void_and_categories_without_segments(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path, images=2, side=SIDE)
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"] = []
    content["categories"].append({"id": 2, "name": "square", "isthing": 1})
    save_ids(tmp_path / "panoptic" / "0.png", np.zeros((SIDE, SIDE), np.int64))
    report = check(path, content)
    assert kinds(report) == {"images that are all void": 1, "categories without segments": 1}
    assert report.findings[0].examples == ["image 0"] and "2 (square)" in report.findings[1].examples[0]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_panoptic(tmp_path, images=5)
    options = ["--images", tmp_path / "images", "--out", tmp_path / "out"]
    assert run_command("data", "check", path, *options, "--samples", 3, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["num_things"] == 10 and content["findings"] == []
    files = sorted((tmp_path / "out").iterdir())
    assert [str(file) for file in files] == sorted(content["pictures"]) and len(files) == 3
    with Image.open(files[0]) as picture:
        assert picture.size == (64, 64)

    (tmp_path / "panoptic").rename(tmp_path / "moved")
    (tmp_path / "moved" / "3.png").unlink()
    assert run_command("data", "check", path, *options, "--segments", tmp_path / "moved", "--task", "panoptic") == 0
    text = capsys.readouterr().out
    assert f"{UNREADABLE_SEGMENTS}: 1" in text and "3.png" in text
    assert "rectangle" in text and "void pixels" in text and "4 pictures in" in text
    assert run_command("data", "check", path, "--task", "boxes") == 1
    assert capsys.readouterr().err.startswith("error: task: expected instance or panoptic")
