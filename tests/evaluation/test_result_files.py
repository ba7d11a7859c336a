"""Which files an evaluation may replace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from condinst.evaluation.result_files import CURVES, INSTANCES, METRICS, PANOPTIC, check_result_files

METRICS_OF_A_RUN = {"data": "a.json", "images": 2, "failed": [], "mask": {}, "curves": {}}


@pytest.mark.parametrize("name", [METRICS, CURVES, *INSTANCES, *PANOPTIC])
@pytest.mark.parametrize("metrics", ["{}", "[]", "no JSON", '{"data": 1}'])
def test_files_of_others_are_refused(tmp_path: Path, name: str, metrics: str) -> None:
    (tmp_path / METRICS).write_text(metrics)
    with pytest.raises(FileExistsError, match=f"{METRICS}: expected no file, or that of an earlier run"):
        check_result_files(tmp_path, [name])
    (tmp_path / METRICS).unlink()
    (tmp_path / name).write_text(metrics)
    with pytest.raises(FileExistsError, match=f"{name}: expected no file, or that of an earlier run"):
        check_result_files(tmp_path, [name])


def test_results_of_an_earlier_evaluation(tmp_path: Path) -> None:
    check_result_files(tmp_path / "new", [CURVES, *INSTANCES])
    for name in (CURVES, *INSTANCES):
        (tmp_path / name).touch()
    (tmp_path / METRICS).write_text(json.dumps(METRICS_OF_A_RUN))
    check_result_files(tmp_path, [CURVES, *INSTANCES])
    (tmp_path / METRICS).write_text(json.dumps({**METRICS_OF_A_RUN, "results": "results.json"}))
    check_result_files(tmp_path, [])
    with pytest.raises(FileExistsError, match="results.json: expected"):  # those that were scored
        check_result_files(tmp_path, INSTANCES)


def test_the_other_task_beside_metrics_of_ours(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(json.dumps(METRICS_OF_A_RUN))
    check_result_files(tmp_path, PANOPTIC)
    (tmp_path / "panoptic").mkdir()
    with pytest.raises(FileExistsError, match="panoptic: expected"):
        check_result_files(tmp_path, PANOPTIC)
