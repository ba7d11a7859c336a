"""Which files a training may replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from condinst.engine.run_files import RESULTS, SETTINGS, check_run_folder


@pytest.mark.parametrize("name", [SETTINGS, *RESULTS])
@pytest.mark.parametrize("resume", [False, True])
def test_files_of_others_are_refused(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).write_text('{"images": []}')
    if resume and name != SETTINGS:
        check_run_folder(tmp_path, resume=True)  # beside last.pt they are of the run that is resumed
        return
    with pytest.raises(FileExistsError, match=f"{name}: expected no file, or that of an earlier run"):
        check_run_folder(tmp_path, resume=resume)


def test_a_run_that_ended_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    keys = ("model", "training", "data", "processes", "precision")
    (tmp_path / SETTINGS).write_text(json.dumps(dict.fromkeys(keys, {})))
    (tmp_path / "log.csv").touch()
    check_run_folder(tmp_path, resume=False)
    (tmp_path / "last.pt").touch()
    check_run_folder(tmp_path, resume=True)
    with pytest.raises(FileExistsError, match=r"last\.pt is from an earlier run"):
        check_run_folder(tmp_path, resume=False)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    check_run_folder(tmp_path / "new", resume=False)
