"""`condinst evaluate` on panoptic data, by a model or of results on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import error_line, run_command


def test_evaluate_panoptic(
    panoptic_weights: str, panoptic_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", panoptic_truth, "--images", panoptic_truth.parent / "images"]
    out = tmp_path / "out"
    assert run_command(*words, "--weights", panoptic_weights, "--out", out, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"all", "things", "stuff", "per_class", "failed", "timing"} <= set(scores)
    assert scores["model"] == "tiny_panoptic" and scores["images"] == 2
    assert list(scores["per_class"]) == ["square", "disc", "sand", "sky"]
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "panoptic", "panoptic.json"]
    assert json.loads((out / "metrics.json").read_text()) == scores
    assert sum(own[count] for own in scores["per_class"].values() for count in ("TP", "FN")) == 8

    assert run_command(*words, "--task", "panoptic", "--results", out / "panoptic.json", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["per_class"] == scores["per_class"] and again["all"] == scores["all"]

    (panoptic_truth.parent / "images" / "1.jpg").unlink()
    assert run_command(*words, "--weights", panoptic_weights) == 1
    captured = capsys.readouterr()
    assert "2 images" in captured.out and "1 images were skipped; their segments count as missed" in captured.out
    assert f"error: {panoptic_truth.parent / 'images' / '1.jpg'}: no such file" in captured.err


def test_evaluate_panoptic_results(panoptic_truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = panoptic_truth.rename(panoptic_truth.with_name("truth.json"))
    words = ["evaluate", "--data", results, "--segments", results.parent / "panoptic", "--results"]
    (results.parent / "panoptic.json").write_text(results.read_text())
    assert run_command(*words, results.parent / "panoptic.json", "--limit", 1) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("All", "Things", "Stuff", "PQ", "SQ", "RQ", "100.00", "sand", "1 images"))
    assert run_command(*words, results.parent / "none.json") == 1
    assert "none.json: no such file" in error_line(capsys)
    for more in (["--weights", "condinst_nano"], ["--config", "condinst_nano"]):
        assert run_command(*words, results, *more) == 1
        assert "results: expected neither --config nor --weights" in error_line(capsys)
    assert run_command(*words, results, "--max-dets", 5) == 1
    assert "max-dets: expected none with panoptic results" in error_line(capsys)
    assert run_command(*words, results, "--task", "instance") == 1
    assert "it looks like a panoptic file" in error_line(capsys)


def test_evaluate_panoptic_results_of_a_folder_without_images(
    panoptic_truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = panoptic_truth.parent / "annotations"
    folder.mkdir()
    panoptic_truth.rename(folder / "panoptic_val2017.json")
    (panoptic_truth.parent / "panoptic").rename(folder / "panoptic_val2017")
    words = ["evaluate", "--data", folder.parent, "--json", "--results", folder / "panoptic_val2017.json"]
    assert run_command(*words) == 0
    assert json.loads(capsys.readouterr().out)["all"]["PQ"] == 1


def test_one_process_scores_panoptic_results(
    panoptic_truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, scores in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        words = ["--data", panoptic_truth, "--results", panoptic_truth, "--out", tmp_path / "out"]
        assert run_command("evaluate", *words) == 0
        assert ("PQ" in capsys.readouterr().out) == (tmp_path / "out" / "metrics.json").exists() == scores
