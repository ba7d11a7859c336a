"""docs/measurements.md holds what ``python benchmarks/report_measurements.py`` writes from the committed results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import report_measurements
from studies.program import ROOT
from studies.rows import read_rows


def test_the_page_is_as_written(tmp_path: Path) -> None:
    """If this fails, run ``python benchmarks/report_measurements.py``."""
    for part in report_measurements.parts():
        part.write(tmp_path)
    assert (tmp_path / report_measurements.PAGE).read_text() == (ROOT / report_measurements.PAGE).read_text()


def test_a_comparison_is_of_one_run() -> None:
    rows = read_rows(report_measurements.ROWS)
    comparison = report_measurements.COMPARISONS[0]
    cells = report_measurements.comparison_cells(comparison, rows)
    assert float(cells[4]) == pytest.approx(float(cells[3]) / float(cells[1]), rel=0.01)
    newer = [replace(row, date="2100-01-01T00:00:00") for row in rows if row.variant == comparison.ours]
    with pytest.raises(ValueError, match="grouped convolution not measured"):
        report_measurements.comparison_cells(comparison, rows + newer)
