"""Writes the measured tables and the plot into docs/: ``python benchmarks/report.py [RESULTS.csv]``.

Only the last run of each study counts. Without a file, that of a CPU with the newest one is taken;
``report_gpu.py`` writes what was measured on GPUs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from condinst.benchmarking.plot import save_plot
from condinst.benchmarking.results import Row
from condinst.benchmarking.tables import TextTable, instances_tables, mask_head_tables
from studies.pages import Part, block_part
from studies.program import RESULTS, Program, make_report_parser
from studies.rows import latest, read_rows
from studies.tables import operator_table, samples_table

PLOT = "docs/images/mask_head.png"
HEAD_STUDIES = ("instances", "depth", "width", "factor")
DETECTION_OPS = {
    "targets": ("fcos_targets", "mask_centers", "select_top_locations"),
    "losses": ("sigmoid_focal_loss", "giou_loss", "centerness_loss"),
    "detections": ("decode_detections", "nms"),
    "masks": ("pack_masks", "mask_nms", "matrix_nms"),
}


def main() -> None:
    """Rewrite the pages and the plot from the results."""
    parser = make_report_parser(__doc__)
    parser.add_argument("results", type=Path, nargs="*", metavar="RESULTS.csv", help="by default all of results/")
    program = Program(parser)
    paths = program.options.results or sorted(RESULTS.glob("*.csv"))
    runs = [(path, latest(read_rows(path), "dynamic_mask_head", "instances")) for path in paths]
    runs = [(path, rows) for path, rows in runs if rows and rows[-1].device_ms is None]
    if not runs:
        raise SystemExit("error: no rows of dynamic_mask_head on a CPU; run `make bench`")
    path, instances = max(runs, key=lambda run: run[1][-1].date)
    print(f"measured: {path}")
    program.write_parts([*page_parts(read_rows(path)), Part(PLOT, lambda out: save_plot(instances, out / PLOT))])


def page_parts(rows: list[Row]) -> list[Part]:
    """The parts of pages for which everything was measured."""
    parts = []

    def add(page: str, name: str, origin: list[Row], tables: list[TextTable]) -> None:
        parts.append(block_part(f"docs/{page}.md", name, partial(_blocks, origin, tables)))

    head = [row for study in HEAD_STUDIES for row in latest(rows, "dynamic_mask_head", study)]
    add("mask_head", "head", head, mask_head_tables(head))
    loss = latest(rows, "dynamic_mask_loss", "training")
    if loss:
        add("mask_head", "loss", loss, instances_tables(loss))
    for name, ops in DETECTION_OPS.items():
        measured = [latest(rows, op, "operator") for op in ops]
        if all(measured):
            if name == "detections":
                measured.append(latest(rows, "decode_detections + nms", "post-processing"))
            add("detection", name, measured[-1], [operator_table(of_op) for of_op in measured if of_op])
    studies = [latest(rows, op, "run lengths") for op in ("masks_to_rle", "model.predict", "head + masks_to_rle")]
    tables = [samples_table(study) for study in studies if study]
    of_image = latest(rows, "masks_to_image", "operator")
    if tables:
        add("masks", "masks", studies[0], tables + ([operator_table(of_image)] if of_image else []))
    merge = latest(rows, "panoptic_merge", "operator")
    if merge:
        add("panoptic", "merge", merge, [operator_table(merge)])
    studies = [latest(rows, op, op) for op in ("training step", "losses of a step")]
    if all(studies):
        add("training", "training step", studies[0], [samples_table(study) for study in studies])
    return parts


def _blocks(origin: list[Row], tables: list[TextTable]) -> list[str]:
    return [_origin(origin), *(table.markdown() for table in tables)]


def _origin(rows: list[Row]) -> str:
    row = rows[-1]
    return f"{row.device}, torch {row.torch}, commit {row.commit}, {row.date[:10]}."


if __name__ == "__main__":
    main()
