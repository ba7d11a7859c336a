"""Which files a training may replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from condinst.engine.run_files import RESULTS, SETTINGS, check_run_folder


@pytest.mark.parametrize("name", [SETTINGS, *RESULTS])
def test_files_of_others_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"images": []}')
    with pytest.raises(FileExistsError, match=f"{name}: expected no file, or that of an earlier run"):
        check_run_folder(tmp_path, resume=False)


def test_a_run_that_ended_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    keys = ("model", "training", "data", "processes", "precision")
    (tmp_path / SETTINGS).write_text(json.dumps(dict.fromkeys(keys, {})))
    (tmp_path / "log.csv").touch()
    check_run_folder(tmp_path, resume=False)
    (tmp_path / "last.pt").touch()
    check_run_folder(tmp_path, resume=True)
    with pytest.raises(FileExistsError, match=r"last\.pt is from an earlier run"):
        check_run_folder(tmp_path, resume=False)


@pytest.mark.parametrize("settings", ['{"model": {}, "training": {}, "data": {}}', '{"model": {}, "trai', "[]", None])
def test_a_checkpoint_is_resumed_whatever_is_in_the_settings(tmp_path: Path, settings: str | None) -> None:
    for name in ("last.pt", *RESULTS):
        (tmp_path / name).touch()
    if settings is not None:
        (tmp_path / SETTINGS).write_text(settings)
    check_run_folder(tmp_path, resume=True)


def test_the_settings_of_an_older_run(tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text('{"model": {}, "training": {}, "data": {}, "version": "0.1"}')
    (tmp_path / "log.csv").touch()
    check_run_folder(tmp_path, resume=False)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    check_run_folder(tmp_path / "new", resume=False)
