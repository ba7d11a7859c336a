"""Writes what was measured on GPUs into the documentation: ``python benchmarks/report_gpu.py``.

Two kinds of files in ``results/`` are read. `FIRST_RUN` holds the first run on a GPU, as its script printed it. The CSV
files of GPUs hold the rows that ``benchmarks/bench_*.py`` added since.

docs/measurements_gpu.md gets tables. Any page can quote a number of the first run between two comments,
``<!--gpu SECTION/NAME/KEY-->32.3<!--/gpu-->``, as the JSON names them; this script writes the number.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from condinst.benchmarking.results import three_digits
from condinst.benchmarking.tables import TextTable
from studies.pages import Part, with_block
from studies.program import RESULTS, ROOT, Program, make_report_parser
from studies.rows import latest, read_rows
from studies.tables import operator_table

FIRST_RUN = RESULTS / "2026-11-28-nvidia-h200.json"
PAGE = ROOT / "docs/measurements_gpu.md"

SECTIONS = {
    "machine": "The machine",
    "head": "`dynamic_mask_head`: K instances on features [1, 8, 100, 136]",
    "loss": "`dynamic_mask_loss`, forward and backward: K instances on two images",
    "post": "`decode_detections` and `nms` in a row: 800 x 1088 pixels, 80 classes",
    "nms": "`nms` beside torchvision's `batched_nms`",
    "focal": "`sigmoid_focal_loss`, forward and backward: 36,268 x 80",
    "spec": "Other operators, on the samples of their benchmarks",
    "rle": "`masks_to_rle` and `masks_to_image`: 100 masks, 800 x 1088 pixels unless it says otherwise",
    "whole": "Whole inference: one image of 800 x 1344 pixels, 100 planted instances",
}
COLUMNS = {
    "graph_us": "in a CUDA graph, us",
    "us": "between events, us",
    "host_us": "wall time, us",
    "floor_us": "floor, us",
    "graph_ms": "in a CUDA graph, ms",
    "ms": "time of a call, ms",
    "gpu_ms": "GPU busy, ms",
    "floor_ms": "floor, ms",
    "ratio": "times as fast",
    "launches": "kernels and copies",
    "syncs": "waits for the device",
    "peakMiB": "extra memory, MiB",
    "err": "largest error",
    "GBs": "GB/s",
    "TFLOPs": "TFLOP/s",
    "error": "error",
}
"""Titles of what the rows of the first run hold. The quotient of time and floor, `x_floor`, is left out."""

QUOTE = re.compile(r"<!--gpu ([^/>]+)/([^/>]+)/(\w+)-->[^<]*<!--/gpu-->")


def read_run(path: Path = FIRST_RUN) -> dict[str, Any]:
    """A run in JSON: "about", "tests" and "rows"."""
    return json.loads(path.read_text(encoding="utf-8"))


def run_blocks(run: dict[str, Any]) -> dict[str, list[str]]:
    """The generated parts of `PAGE` that show one run, by name."""
    about, tests = run["about"], run["tests"]
    machine = (
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, Python {about['python']}, commit"
        f" {about['commit']}, {about['date']}. The build in place took {about['build_seconds']} s on"
        f" {about['cores']} cores."
    )
    outcome = (
        f"`{tests['command']}`: {tests['passed']} passed, {tests['failed']} failures (each subtest counts),"
        f" {tests['skipped']} skipped, in {tests['seconds']} s with {tests['workers']} processes."
    )
    tables = [section_table(section, title, run).markdown() for section, title in SECTIONS.items()]
    return {"run": [_wrapped(machine)], "tests": [_wrapped(outcome)], "tables": tables}


def section_table(section: str, title: str, run: dict[str, Any]) -> TextTable:
    """The rows of one section, with the columns that any of them has."""
    rows = [row for row in run["rows"] if row["section"] == section]
    keys = [key for key in COLUMNS if any(key in row for row in rows)]
    cells = [[row["name"], *(_text(row.get(key)) for key in keys)] for row in rows]
    return TextTable(title, ["", *(COLUMNS[key] for key in keys)], cells)


def later_blocks(folder: Path) -> list[str]:
    """A table for each operator and study in the CSV files of GPUs: the last run of it."""
    blocks = []
    for path in sorted(folder.glob("*.csv")):
        rows = [row for row in read_rows(path) if row.device_ms is not None]
        for op, study in dict.fromkeys((row.op, row.study) for row in rows):
            last = latest(rows, op, study)
            row = last[-1]
            blocks.append(f"{row.device}, torch {row.torch}, commit {row.commit}, {row.date[:10]}; {study}.")
            blocks.append(operator_table(last).markdown())
    return blocks or ["None so far."]


def with_quotes(text: str, run: dict[str, Any]) -> str:
    """A page with the numbers that it quotes.

    Raises:
        ValueError: it quotes what the run does not have.
    """
    rows = {(row["section"], row["name"]): row for row in run["rows"]}

    def quote(match: re.Match[str]) -> str:
        section, name, key = match.groups()
        value = rows.get((section, name), {}).get(key)
        if value is None:
            raise ValueError(f"{section}/{name}/{key} is quoted and was not measured")
        return f"<!--gpu {section}/{name}/{key}-->{_text(value)}<!--/gpu-->"

    return QUOTE.sub(quote, text)


def pages() -> list[Path]:
    """Every page that may quote."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "kernels").glob("**/*.md"))]


def written(page: Path, run: dict[str, Any]) -> str:
    """What a page should hold."""
    text = with_quotes(page.read_text(encoding="utf-8"), run)
    if page == PAGE:
        for name, blocks in run_blocks(run).items():
            text = with_block(text, name, blocks)
        text = with_block(text, "later", later_blocks(RESULTS))
    return text


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _text(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else three_digits(value)


def main() -> None:
    """Rewrite all pages."""
    program = Program(make_report_parser(__doc__))

    def part(page: Path) -> Part:
        name = str(page.relative_to(ROOT))
        return Part(name, lambda out: write_page(page, out / name))

    program.write_parts(map(part, pages()))


def write_page(page: Path, path: Path) -> None:
    """Write what a page should hold to a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written(page, read_run()), encoding="utf-8")


if __name__ == "__main__":
    main()
