"""The smaller commands, and the command itself: usage, errors, version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import condinst
from condinst import cli
from condinst.ops import OPERATORS
from tests.command import error_line, run_command


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "a.png", "--score-threshold", "1.5"],
        ["predict", "a.png", "--score-threshold", "high"],
        ["predict", "a.png", "--task", "semantic"],
        ["predict"],
        ["predict", "a.png", "--colour", "red"],
        ["segment"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run_command(*arguments) == 2


def test_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("backends", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"op": "dice_loss", "backend": "reference"}.items() <= rows[
        [r["op"] for r in rows].index("dice_loss")
    ].items()
    assert all(set(row) == {"op", "backend", "status", "reason"} for row in rows)
    assert run_command("backends") == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("op", "backend", "status", "reason", "dice_loss", "triton"))
    assert "No kernel was launched" in " ".join(table.split())


def test_backends_in_a_process_of_its_own() -> None:
    """The command line imports the operators on first use."""
    words = [sys.executable, "-m", "condinst.cli", "backends", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert {row["op"] for row in json.loads(done.stdout)} == set(OPERATORS)


def test_convert(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "half.safetensors"
    assert run_command("convert", weights, out, "--half") == 0
    assert "resnet18, 1 classes" in capsys.readouterr().out
    assert out.stat().st_size < 0.6 * Path(weights).stat().st_size
    assert condinst.load(out).config == condinst.load(weights).config

    before = out.read_bytes()
    for source in (weights, out):
        assert run_command("convert", source, out) == 1
        assert f"target: expected a new file, got {out}" in error_line(capsys)
    assert out.read_bytes() == before
    assert run_command("convert", weights, tmp_path / "out.pth") == 1
    assert "ending in .safetensors" in error_line(capsys)
    assert run_command("convert", tmp_path / "no.pth", out) == 1
    assert "no such file" in error_line(capsys)


def test_explain(weights: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert run_command("explain", images / "a.png", "--instance", 1, "--weights", weights, "--out", out) == 0
    assert "nucleus 0." in capsys.readouterr().out
    with Image.open(out / "a_object1.png") as sheet:
        assert sheet.width > 600
    words = ["explain", images / "a.png", "--instance", 1, "--weights", weights, "--out", out]
    assert run_command(*words) == 0  # its own picture is replaced
    (out / "a_object1.png").write_bytes((images / "a.png").read_bytes())
    capsys.readouterr()
    assert run_command(*words) == 1
    assert "a_object1.png: expected no file" in error_line(capsys)
    assert (out / "a_object1.png").read_bytes() == (images / "a.png").read_bytes()
    assert run_command("explain", images / "a.png", "--instance", 99, "--weights", weights, "--out", out) == 1
    error = error_line(capsys)
    assert "instance: expected 0.." in error and "instances found by condinst_nano, got 99" in error


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDINST_DEBUG", "1")
    with pytest.raises(ValueError, match="no such file"):
        cli.main(["convert", "no.pth", "out.safetensors"])


def test_unexpected_errors_name_their_type(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("condinst.backends.backend_table", broken)
    assert run_command("backends") == 1
    assert error_line(capsys) == "error: it broke (RuntimeError; CONDINST_DEBUG=1 shows where)\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--version") == 0
    assert capsys.readouterr().out == f"condinst {condinst.__version__}\n"


def test_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "condinst.cli", "predict", "no.jpg", "--device", "abacus"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    bad = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert bad.returncode == 1 and bad.stdout == ""
    assert bad.stderr.startswith("error: device: expected auto") and "Traceback" not in bad.stderr


@pytest.mark.parametrize("below", ["", "below"])
def test_results_need_a_folder(below: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "file" / below
    (tmp_path / "file").write_text("no folder")
    assert run_command("predict", images, "--out", out) == 1
    assert f"{out}: expected a folder, got a file or a path through one" in error_line(capsys)
