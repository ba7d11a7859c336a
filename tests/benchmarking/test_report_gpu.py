"""Pages hold what ``python benchmarks/report_gpu.py`` writes from the measurements in benchmarks/results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import report_gpu
from studies.program import ROOT
from studies.rows import append_rows
from tests.benchmarking.made_rows import make_gpu_rows, make_rows_of_two

RUN = {
    "about": {"date": "2026-01-01"},
    "rows": [
        {"section": "head", "name": "cuda K=1, 2", "us": 12.8, "graph_us": 7.23},
        {"section": "head", "name": "b"},
    ],
}


@pytest.mark.parametrize("page", report_gpu.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_as_written(page: Path) -> None:
    """Otherwise run ``python benchmarks/report_gpu.py``."""
    assert report_gpu.written(page, report_gpu.read_run()) == page.read_text(encoding="utf-8")


def test_pages_quote_what_was_measured() -> None:
    quoting = {
        str(page.relative_to(ROOT))
        for page in report_gpu.pages()
        if report_gpu.QUOTE.search(page.read_text(encoding="utf-8"))
    }
    assert quoting == {
        "README.md",
        "docs/mask_head.md",
        "docs/masks.md",
        "docs/measurements.md",
        "docs/measurements_gpu.md",
        "docs/panoptic.md",
        "kernels/dynamic_mask_head/README.md",
        "kernels/suppression/README.md",
    }
    for page in report_gpu.pages():  # none that the pattern misses
        text = page.read_text(encoding="utf-8")
        assert len(report_gpu.QUOTE.findall(text)) == text.count("<!--gpu ") == text.count("<!--/gpu-->"), page
        assert "\n<!--gpu " not in text, f"{page}: in Markdown a line that begins with a comment ends the paragraph"


def test_quotes_follow_the_run() -> None:
    page = "a <!--gpu head/cuda K=1, 2/us-->99<!--/gpu--> us, <!--gpu head/cuda K=1, 2/graph_us--><!--/gpu--> us"
    text = report_gpu.with_quotes(page, RUN)
    assert text == (
        "a <!--gpu head/cuda K=1, 2/us-->12.8<!--/gpu--> us, <!--gpu head/cuda K=1, 2/graph_us-->7.23<!--/gpu--> us"
    )
    assert report_gpu.with_quotes(text, RUN) == text
    for name in ("b/us", "c/us"):
        with pytest.raises(ValueError, match=f"head/{name} is quoted and was not measured"):
            report_gpu.with_quotes(f"<!--gpu head/{name}-->1<!--/gpu-->", RUN)


def test_a_section_has_the_columns_of_its_rows() -> None:
    table = report_gpu.section_table("head", "The head", RUN)
    assert table.columns == ["", "in a CUDA graph, us", "between events, us"]
    assert table.cells == [["cuda K=1, 2", "7.23", "12.8"], ["b", "-", "-"]]


def test_every_row_of_the_first_run_is_shown() -> None:
    run = report_gpu.read_run()
    assert {row["section"] for row in run["rows"]} == set(report_gpu.SECTIONS)
    assert {key for row in run["rows"] for key in row} - {"section", "name", "x_floor"} == set(report_gpu.COLUMNS)


def test_rows_of_a_gpu_come_into_the_page(tmp_path: Path) -> None:
    append_rows(make_rows_of_two(10), tmp_path)
    assert report_gpu.later_blocks(tmp_path) == ["None so far."]
    rows = [replace(row, device="A GPU") for row in make_gpu_rows()]
    append_rows([*rows, *(replace(row, date="2026-01-02T00:00:00", p50_ms=70.0) for row in rows)], tmp_path)
    origin, table = report_gpu.later_blocks(tmp_path)
    assert origin == "A GPU, torch 2.11, commit abc, 2026-01-02; instances."
    assert "| cpp | 70 / 38 / 32.2 (0.1x) |" in table and "in a CUDA graph" in table
