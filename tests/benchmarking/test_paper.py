"""``benchmarks/paper_tables.py``: the rows of the paper's tables, what is counted and what is timed of them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import paper_tables
from condinst import CondInst, CondInstConfig, config_names, load_config
from studies import paper
from studies.paper import PAPER_TABLES, PaperRow, measure_table, row_config
from studies.whole_model import (
    NUM_INSTANCES,
    OP,
    input_size,
    mask_head_call,
    measure_models,
    multiply_adds,
    num_parameters,
    padded_size,
    whole_model_call,
)
from tests.models.tiny import TINY, make_model

CPU = torch.device("cpu")
PAGE = Path(__file__).parents[2] / "docs/models.md"
SIZE = (800, 1088)
PIXELS = {level: SIZE[0] * SIZE[1] // 4**level for level in (2, 3)}
PIXELS |= {4: 50 * 68, 5: 25 * 34}

NUMBERS = {
    1: [11, 97, 169, 241, 31, 69, 169, 465],
    2: [113, 121, 137, 169, 233],
    3: [153, 105, 169, 169],
    4: [169, 169],
    5: [169, 169, 169],
    6: [169, 169],
    8: [169, 169, 169],
    10: [169, 169, 169, 169],
    11: [169],
}
"""Per instance, by hand: with C channels of input and width W, CW + W, then WW + W per hidden layer, then W + 1."""


def _config(row: PaperRow) -> CondInstConfig:
    config = row_config(row)
    assert config is not None
    return config


def _num_parameters(config: CondInstConfig) -> int:
    with torch.device("meta"):
        return num_parameters(CondInst(config))


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_rows(number: int) -> None:
    rows = PAPER_TABLES[number][1]
    assert [_config(row).num_mask_head_params for row in rows] == NUMBERS[number]
    assert len({row.name for row in rows}) == len(rows)
    if number >= 10:
        for row in rows:
            assert _config(row).panoptic and list(row.accuracy) == ["PQ", "PQ_things", "PQ_stuff"]
            assert min(row.accuracy.values()) < row.accuracy["PQ"] < max(row.accuracy.values())
        return
    for row in rows:
        assert list(row.accuracy) == ["AP", "AP50", "AP75", "APs", "APm", "APl"][: 3 if number == 8 else 6]
        ap, ap50, ap75 = list(row.accuracy.values())[:3]
        assert 30 < ap < ap75 < ap50 or row.name in ("depth 1",) and 30 < ap < ap50
    if number != 8:  # the published model is a row of each table
        published = [row for row in rows if _config(row) == load_config("condinst_r50_1x")]
        assert {row.accuracy["AP"] for row in published} == {35.6}
        assert {row.image_ms for row in published} == {49.0}


def test_parameters() -> None:
    """What a row has more than the published model is in the controller and the last layer of the mask branch."""
    published = load_config("condinst_r50_1x")
    base = _num_parameters(published)
    assert round(_num_parameters(load_config("condinst_r50_1x_sem")) / 1e6, 2) == 34.56  # numerics 3
    for number in (1, 2, 3, 5, 6):
        for row in PAPER_TABLES[number][1]:
            config = _config(row)
            controller = (config.num_mask_head_params - 169) * (256 * 9 + 1)
            if config.mask_head_features:
                mask_branch = (config.mask_feature_channels - 8) * (128 + 1)
            else:
                refine, tower = 3 * (256 * 128 * 9 + 2 * 128), 4 * (128 * 128 * 9 + 2 * 128)
                mask_branch = -(refine + tower + 8 * (128 + 1))
            assert _num_parameters(config) - base == controller + mask_branch, row.name
    p2 = _num_parameters(_config(PAPER_TABLES[4][1][1]))
    lateral, output, refine = 256 * 256 + 256, 256 * 256 * 9 + 256, 256 * 128 * 9 + 2 * 128
    assert p2 - base == lateral + output + refine
    semantic = 4 * (256 * 128 * 9 + 2 * 128) + 3 * (128 * 128 * 9 + 2 * 128) + (4 * 128 + 1) * 133
    assert _num_parameters(_config(PAPER_TABLES[10][1][0])) - base == lateral + output + semantic


def test_multiply_adds() -> None:
    """Differences between models are those of the layers in which they differ."""
    published = load_config("condinst_r50_1x")
    base = multiply_adds(published, SIZE)
    assert base == multiply_adds(published, (771, 1080))  # padded
    locations = PIXELS[3] + PIXELS[4] + PIXELS[5] + 13 * 17 + 7 * 9
    assert multiply_adds(published.replace(mask_head_channels=16), SIZE) - base == (
        locations * (465 - 169) * 256 * 9 + NUM_INSTANCES * PIXELS[3] * (10 * 16 + 16 * 16 + 16 - 152)
    )
    mask_branch = 256 * 128 * 9 * (PIXELS[3] + PIXELS[4] + PIXELS[5]) + PIXELS[3] * (4 * 128 * 128 * 9 + 128 * 8)
    assert base - multiply_adds(published.replace(mask_head_features=False), SIZE) == (
        mask_branch + locations * 64 * 256 * 9 + NUM_INSTANCES * PIXELS[3] * 64
    )
    assert multiply_adds(published.replace(semantic_loss=True), SIZE) == base  # in training only
    pyramid = PIXELS[2] * (256 * 256 + 256 * 256 * 9)
    blocks = PIXELS[2] * 9 * 256 * 128 + PIXELS[3] * 9 * 256 * 128  # P2, P3
    blocks += PIXELS[4] * 9 * 256 * 128 + PIXELS[3] * 9 * 128 * 128
    blocks += PIXELS[5] * 9 * 256 * 128 + (PIXELS[4] + PIXELS[3]) * 9 * 128 * 128
    panoptic = multiply_adds(load_config("condinst_r50_1x_panoptic"), SIZE)
    assert panoptic - base == pyramid + blocks + PIXELS[2] * 512 * 133
    offsets = 2 * locations * 256 * 27 * 9
    assert multiply_adds(published.replace(head_deformable=True), SIZE) - base == offsets


def test_input_sizes() -> None:
    sizes = {name: input_size(load_config(name)) for name in ("condinst_r50_1x", "condinst_r50_cityscapes")}
    assert sizes == {"condinst_r50_1x": (800, 1088), "condinst_r50_cityscapes": (1024, 2048)}
    assert input_size(load_config("condinst_rt_r50")) == (512, 704)
    assert padded_size(TINY, (33, 64)) == (64, 64)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"nms": "mask"},
        {"mask_head_features": False},
        {"fpn_channels": 64, "num_classes": 1},
        {"fpn_in_features": ("res2", "res3", "res4", "res5"), "panoptic": True, "num_stuff_classes": 2},
    ],
)
def test_a_call_finds_what_was_planted(overrides: dict[str, Any]) -> None:
    model = make_model(**{"max_detections": 7, **overrides})
    call = whole_model_call(model, (150, 201))
    (result,), (again,) = call(), call()
    scores = result["scores"]
    assert len(result["rles"]) == NUM_INSTANCES == len(scores)
    assert ("panoptic" in result) == model.config.panoptic
    assert result["rles"][0]["size"] == [160, 224] and result["rles"] == again["rles"]
    assert scores.min() > 0.5 and scores.max() < 0.71
    boxes = result["boxes"]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and len(scores.unique()) > 90
    masks = mask_head_call(model, (150, 201))()
    assert masks.shape == (NUM_INSTANCES, 160 // 4, 224 // 4) and ((masks >= 0) & (masks <= 1)).all()


def test_a_table_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    found = measure_table(3, CPU, size=(60, 90), rounds=2, progress=steps.append)
    assert [row.row for row in found.rows] == list(PAPER_TABLES[3][1])
    for row in found.rows:
        assert row.missing is None and row.size == (64, 96) and row.numbers_per_instance is not None
        assert row.head_ms and row.image_ms and 0 < row.head_ms < row.image_ms
        assert row.parameters == _num_parameters(_config(row.row))
    assert len(steps) == 6 and found.about["torch"] == torch.__version__

    monkeypatch.setattr(paper, "config_names", lambda: ["condinst_r50_1x"])
    lines = measure_table(4, CPU, size=(64, 64), rounds=2).text().cells
    assert lines[0][1:3] == ["34.11 M", "169"] and lines[0][-1] == "35.6"
    assert lines[1] == ["P2", "config condinst_r50_1x_p2 is missing", "", "", "-", "", "-", "36.0"]


def test_a_model_that_finds_less_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "whole_model_call", lambda *_: lambda: [{"rles": [{}] * 99}])
    with pytest.raises(ValueError, match="not timed: boxes: expected 100 instances, got 99"):
        measure_table(6, CPU, size=(64, 64), rounds=2)


@pytest.mark.parametrize("table", [0, 7])
def test_a_table_that_is_not_there_is_refused(table: int) -> None:
    with pytest.raises(ValueError, match=f"table: expected one of 1, 2, 3, 4, 5, 6, 8, 10, 11; got {table}"):
        measure_table(table, CPU)


def test_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, keep_threads: None
) -> None:
    def run(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["paper_tables.py", "--out", str(tmp_path), *map(str, words)])
        paper_tables.main()

    small = ["--size", "64x64", "--rounds", 2, "--threads", 1]
    run("--table", 8, *small)
    capsys.readouterr()
    found = json.loads((tmp_path / "table_8.json").read_text())
    assert set(found) == {"table", "title", "about", "rows"} and found["about"]["threads"] == 1
    assert [row["row"]["config"] for row in found["rows"]] == [
        "condinst_rt_r50_shared",
        "condinst_rt_dla34_shared",
        "condinst_rt_dla34",
    ]
    assert [round(1000 / row["row"]["image_ms"]) for row in found["rows"]] == [43, 47, 41]  # images per second
    assert all(row["image_ms"] > 0 for row in found["rows"])

    run("--table", 6, "--filter", "box", *small)
    text = capsys.readouterr().out
    for words in ("Table 6", "| boxes |", "34.11 M", "169", "35.6", "49"):
        assert words in text
    assert "masks |" not in text

    for size in ("800", "0x5"):
        with pytest.raises(SystemExit):
            run("--table", 1, "--size", size)
        assert f"expected HxW, both at least 1, got '{size}'" in capsys.readouterr().err


def test_models_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.whole_model.input_size", lambda _: (64, 96))
    lines: list[str] = []
    rows = measure_models(CPU, ["condinst_nano", "condinst_rt_r50"], rounds=2, progress=lines.append)
    assert [(row.op, row.sample, row.num_instances, row.ratio) for row in rows] == [
        (OP, "condinst_nano", NUM_INSTANCES, 1.0),
        (OP, "condinst_rt_r50", NUM_INSTANCES, 1.0),
    ]
    assert all(0 < row.p20_ms <= row.p50_ms <= row.p80_ms and row.peak_mib > 0 for row in rows)
    assert len(lines) == 3 and lines[0].startswith("condinst_nano: ")


def test_the_page_has_every_model() -> None:
    """``python benchmarks/report_models.py`` after a change of the configs."""
    lines = re.findall(r"^\| `(\w+)` \|.* \| ([\d.]+) M \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: parameters for name, parameters in lines} == {
        name: f"{_num_parameters(load_config(name)) / 1e6:.2f}" for name in config_names()
    }
