"""``condinst benchmark mask-head``: its JSON, its tables, its errors."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from condinst.benchmarking.mask_head import CHUNKED, COMPILED_GROUPED, GROUPED, MASK_RCNN
from condinst.benchmarking.results import Row
from tests.command import run_command

SMALL = ["benchmark", "mask-head", "--size", "6x9", "--rounds", "2", "--device", "cpu", "--compile", "none"]


def _run(*words: object) -> int:
    return run_command(*SMALL, *words)


def test_json_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str], keep_threads: None) -> None:
    pytest.importorskip("matplotlib")
    assert _run("--instances", "2,1", "--json", "--threads", 1, "--plot", tmp_path / "times.png") == 0
    assert (tmp_path / "times.png").stat().st_size > 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "about", "multiply_adds_per_second", "chunk_size", "rows", "not_measured", "paper_ms_per_100_instances",
    }  # fmt: skip
    assert found["about"]["threads"] == 1 and found["not_measured"] == []
    rows = [Row(**row) for row in found["rows"]]
    assert all(set(row) == {field.name for field in fields(Row)} for row in found["rows"])
    settings = {study: {row.sample for row in rows if row.study == study} for study in {row.study for row in rows}}
    assert settings == {
        "instances": {"1 x 6x9", "2 x 6x9"},
        "depth": {"1", "2", "3", "4"},
        "width": {"2", "4", "8", "16"},
        "factor": {"1", "2", "4"},
    }
    variants = {row.variant for row in rows if row.num_instances == 2}
    assert {"reference", GROUPED, CHUNKED, MASK_RCNN} <= variants and COMPILED_GROUPED not in variants
    for row in rows:
        assert 0 < row.p20_ms <= row.p50_ms <= row.p80_ms and row.floor_ms > 0
        assert row.ms_per_instance == pytest.approx(row.p50_ms / (row.num_instances or 0), rel=0.01)
        assert row.ratio == 1 or row.variant != GROUPED


def test_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert _run("--instances", "2") == 0
    table = capsys.readouterr().out
    for words in ("Milliseconds a call", "floor", "Table 1a", "Table 1b", "Table 5", "the paper, on the authors' GPU"):
        assert words in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--instances", "ten"], "instances: expected whole numbers with ',' between them, got 'ten'"),
        (["--instances", "0"], "instances: expected numbers of at least 1, got 0"),
        (["--size", "100"], "size: expected HxW, got '100'"),
        (["--size", "0x9"], "size: expected height and width of at least 1, got 0x9"),
        (["--compile", "some"], "compile: expected one of none, one, all; got 'some'"),
        (["--plot", "times.doc"], "plot: expected a name ending in .png"),
        (["--device", "abacus"], "device: expected auto, cpu or a GPU"),
    ],
)
def test_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*words) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and message in text and text.count("\n") == 1


def test_few_rounds_are_wrong_usage() -> None:
    assert _run("--rounds", 1) == 2
