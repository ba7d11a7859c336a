"""Writes the measured tables and the plot into docs/: ``python benchmarks/report.py [RESULTS.csv]``.

Only the last run of each study counts. Without an argument, the file of a CPU with the newest one is taken;
``report_gpu.py`` writes what was measured on GPUs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from condinst.benchmarking.plot import save_plot
from condinst.benchmarking.results import Row
from condinst.benchmarking.tables import instances_tables, mask_head_tables
from studies.pages import replace_block
from studies.rows import latest, read_rows
from studies.tables import operator_table, samples_table

ROOT = Path(__file__).resolve().parents[1]
MASK_HEAD = ROOT / "docs/mask_head.md"
DETECTION = ROOT / "docs/detection.md"
MASKS = ROOT / "docs/masks.md"
PANOPTIC = ROOT / "docs/panoptic.md"
TRAINING = ROOT / "docs/training.md"
PLOT = ROOT / "docs/images/mask_head.png"
HEAD_STUDIES = ("instances", "depth", "width", "factor")
DETECTION_OPS = {
    "targets": ("fcos_targets", "mask_centers", "select_top_locations"),
    "losses": ("sigmoid_focal_loss", "giou_loss", "centerness_loss"),
    "detections": ("decode_detections", "nms"),
    "masks": ("pack_masks", "mask_nms", "matrix_nms"),
}


def main(arguments: list[str]) -> None:
    """Rewrite the pages and the plot from the results."""
    paths = [Path(word) for word in arguments] or sorted((ROOT / "benchmarks/results").glob("*.csv"))
    runs = [(path, latest(read_rows(path), "dynamic_mask_head", "instances")) for path in paths]
    runs = [(path, rows) for path, rows in runs if rows and rows[-1].device_ms is None]
    if not runs:
        raise SystemExit("error: no rows of dynamic_mask_head on a CPU; run `make bench`")
    path, instances = max(runs, key=lambda run: run[1][-1].date)
    rows = read_rows(path)
    head = [row for study in HEAD_STUDIES for row in latest(rows, "dynamic_mask_head", study)]
    replace_block(MASK_HEAD, "head", [_origin(head), *(table.markdown() for table in mask_head_tables(head))])
    loss = latest(rows, "dynamic_mask_loss", "training")
    if loss:
        replace_block(MASK_HEAD, "loss", [_origin(loss), *(table.markdown() for table in instances_tables(loss))])
    for name, ops in DETECTION_OPS.items():
        measured = [latest(rows, op, "operator") for op in ops]
        if all(measured):
            if name == "detections":
                measured.append(latest(rows, "decode_detections + nms", "post-processing"))
            tables = [operator_table(of_op).markdown() for of_op in measured if of_op]
            replace_block(DETECTION, name, [_origin(measured[-1]), *tables])
    _report_masks(rows)
    merge = latest(rows, "panoptic_merge", "operator")
    if merge:
        replace_block(PANOPTIC, "merge", [_origin(merge), operator_table(merge).markdown()])
    _report_training(rows)
    save_plot(instances, PLOT)
    pages = ", ".join(str(page.relative_to(ROOT)) for page in (MASK_HEAD, DETECTION, MASKS, PANOPTIC, TRAINING))
    print(f"{pages} and the plot written from {path.name}")


def _report_masks(rows: list[Row]) -> None:
    studies = [latest(rows, op, "run lengths") for op in ("masks_to_rle", "model.predict", "head + masks_to_rle")]
    tables = [samples_table(study).markdown() for study in studies if study]
    of_image = latest(rows, "masks_to_image", "operator")
    if tables:
        tables += [operator_table(of_image).markdown()] if of_image else []
        replace_block(MASKS, "masks", [_origin(studies[0]), *tables])


def _report_training(rows: list[Row]) -> None:
    studies = [latest(rows, op, op) for op in ("training step", "losses of a step")]
    if all(studies):
        tables = [samples_table(study).markdown() for study in studies]
        replace_block(TRAINING, "training step", [_origin(studies[0]), *tables])


def _origin(rows: list[Row]) -> str:
    row = rows[-1]
    return f"{row.device}, torch {row.torch}, commit {row.commit}, {row.date[:10]}."


if __name__ == "__main__":
    main(sys.argv[1:])
