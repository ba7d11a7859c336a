"""Writes the measured tables and the plot into docs/mask_head.md: ``python benchmarks/report.py [RESULTS.csv]``.

Only the last run of each study counts. Without an argument, the file with the newest one is taken.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from condinst.benchmarking.plot import save_plot
from condinst.benchmarking.results import Row, latest, read_rows
from condinst.benchmarking.tables import instances_tables, mask_head_tables

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/mask_head.md"
PLOT = ROOT / "docs/images/mask_head.png"
HEAD_STUDIES = ("instances", "depth", "width", "factor")


def main(arguments: list[str]) -> None:
    """Rewrite the page and the plot from the results."""
    paths = [Path(word) for word in arguments] or sorted((ROOT / "benchmarks/results").glob("*.csv"))
    runs = [(path, rows) for path in paths if (rows := latest(read_rows(path), "dynamic_mask_head", "instances"))]
    if not runs:
        raise SystemExit("error: no rows of dynamic_mask_head; run `make bench`")
    path, instances = max(runs, key=lambda run: run[1][-1].date)
    rows = read_rows(path)
    head = [row for study in HEAD_STUDIES for row in latest(rows, "dynamic_mask_head", study)]
    loss = latest(rows, "dynamic_mask_loss", "training")
    page = PAGE.read_text()
    page = _replace(page, "head", [_origin(head), *(table.markdown() for table in mask_head_tables(head))])
    if loss:
        page = _replace(page, "loss", [_origin(loss), *(table.markdown() for table in instances_tables(loss))])
    PAGE.write_text(page)
    save_plot(instances, PLOT)
    print(f"{PAGE.relative_to(ROOT)} and {PLOT.relative_to(ROOT)} written from {path.name}")


def _origin(rows: list[Row]) -> str:
    row = rows[-1]
    return f"{row.device}, torch {row.torch}, commit {row.commit}, {row.date[:10]}."


def _replace(page: str, name: str, blocks: list[str]) -> str:
    """The page with other text between the two comments that name a block."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"error: {PAGE.relative_to(ROOT)}: expected the comments {begin} and {end}")
    return pattern.sub(lambda _: "\n\n".join([begin, *blocks, end]), page)


if __name__ == "__main__":
    main(sys.argv[1:])
