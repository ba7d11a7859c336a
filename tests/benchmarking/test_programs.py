"""The programs of benchmarks/: ``--help`` and ``--dry-run`` measure nothing and write nothing."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condinst.benchmarking import timing
from studies.program import ROOT, Program, make_parser

FOLDER = ROOT / "benchmarks"
PROGRAMS = sorted(path.name for path in FOLDER.glob("*.py"))
REPORTS = [name for name in PROGRAMS if name.startswith("report")]
NEEDED = {
    "panoptic_sample.py": "panoptic.json images/ model.safetensors",
    "paper_tables.py": "--table 8",
    "train_mask_rcnn.py": "--minutes 33 --data a.json --images a/ --validation-data b.json --validation-images b/",
    "without_boxes.py": "images/ annotations.json",
}
"""Arguments that must be given; no such file is opened."""

SECONDS_FOR_HELP = 60
"""For a busy machine. A program that measured something would need more, or would write rows."""


def _versions() -> dict[Path, int]:
    """When the files that programs write were changed."""
    folders = (FOLDER / "results", ROOT / "docs")
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {path: path.stat().st_mtime_ns for path in paths}


def _run(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """Runs a program in this process. Returns the argument of its SystemExit."""
    monkeypatch.setattr(sys, "argv", [name, *NEEDED.get(name, "").split(), *words])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    return exit_info.value.code


def test_programs_are_many() -> None:
    assert len([name for name in PROGRAMS if name.startswith("bench_")]) > 15 and len(REPORTS) == 5
    assert set(NEEDED) <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_starts_nothing(name: str, tmp_path: Path) -> None:
    """Torch cannot be imported here, as ``--help`` must not wait for it. Only the reports, which are quick, need it."""
    before = _versions()
    paths = [str(ROOT)]
    if name not in REPORTS:
        (tmp_path / "torch.py").write_text("raise ImportError('--help needs no torch')\n")
        paths.insert(0, str(tmp_path))
    done = subprocess.run(
        [sys.executable, FOLDER / name, "--help"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_HELP,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    docstring = (FOLDER / name).read_text().split('"""')[1]
    assert docstring.strip() in done.stdout
    assert all(option in done.stdout for option in ("--filter TEXT", "--out FOLDER", "--dry-run"))
    computes = name not in (*REPORTS, "compare_precisions.py")  # which sets the threads of its processes
    assert ("--threads N" in done.stdout) == computes
    assert _versions() == before


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_dry_run_measures_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a dry run measures")

    monkeypatch.setattr(timing.Clock, "wall_seconds", refuse)
    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)
    before = _versions()
    assert _run(name, monkeypatch, "--dry-run", "--out", str(tmp_path)) == 0
    names = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("measured: ")]
    assert names and len(set(names)) == len(names)
    if name.startswith("bench_"):
        op = name.removeprefix("bench_").removesuffix(".py")
        studies = ("dynamic_mask_head", "dynamic_mask_loss", "models", "training_step")
        assert op in studies or names[0].startswith(f"{op}: ")
    assert not list(tmp_path.iterdir()) and _versions() == before


def test_a_filter_chooses_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("bench_models.py", monkeypatch, "--dry-run", "--filter", "rt_dla34") == 0
    assert capsys.readouterr().out.split() == ["condinst_rt_dla34", "condinst_rt_dla34_shared"]
    assert _run("bench_models.py", monkeypatch, "--dry-run", "--filter", "r50", "condinst_nano") == (
        "error: --filter: expected a part of one of: condinst_nano; got 'r50'"
    )


def test_a_program_adds_the_rows_of_what_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep_threads: None
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    before = _versions()
    words = ["--filter", "float32, forward", "--out", str(tmp_path / "new"), "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["bench_centerness_loss.py", *words])
    runpy.run_path(str(FOLDER / "bench_centerness_loss.py"), run_name="__main__")
    (path,) = (tmp_path / "new").iterdir()
    lines = path.read_text().splitlines()
    assert path.name.endswith("-1-threads.csv") or torch.cuda.is_available()
    assert f"{len(lines) - 1} rows added to {path}" in capsys.readouterr().out
    assert len(lines) > 2 and all(",centerness_loss,operator,2000,," in line for line in lines[1:])
    assert all(",float32,forward," in line for line in lines[1:])
    assert _versions() == before


@pytest.mark.parametrize("words", [["--threads", "0"], ["--threads", "many"], ["--out"], ["--fliter", "x"]])
def test_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        Program(make_parser("A program."), words)
    assert exit_info.value.code == 2


def test_a_report_is_written_below_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _versions()
    monkeypatch.setattr(sys, "argv", ["report.py", "--filter", "docs/masks.md: ", "--out", str(tmp_path)])
    runpy.run_path(str(FOLDER / "report.py"), run_name="__main__")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["masks.md"]
    assert (tmp_path / "docs/masks.md").read_bytes() == (ROOT / "docs/masks.md").read_bytes()
    assert _versions() == before
