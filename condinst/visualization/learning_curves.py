"""Draws learning curves from the logs of trainings."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

Rows = list[dict[str, str]]

_MEASURES = {"mask_AP": "-o", "box_AP": "--s", "PQ": "-o", "PQ_things": "--s", "PQ_stuff": ":^"}
"""Columns of `validation.csv`, and the styles of their lines."""


def can_draw_curves() -> bool:
    """Whether matplotlib is installed (the extra "plot")."""
    return importlib.util.find_spec("matplotlib") is not None


def save_learning_curves(runs: Mapping[str, Path | str], path: Path | str, *, losses: Sequence[str] = ()) -> None:
    """Draws the losses and the average precision or panoptic quality of one or several trainings against their steps.

    Args:
        runs: folders with a `log.csv` and optionally a `validation.csv`, by the name of the run.
        path: path of the picture; its folder is made.
        losses: columns of `log.csv`; by default all losses of a single run, or the sum of several runs.

    Raises:
        ValueError: matplotlib is missing, or a folder has no log.
    """
    if not can_draw_curves():
        raise ValueError("learning curves: expected matplotlib, which is not installed; pip install 'condinst[plot]'")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    loss_axes, precision_axes = figure.subplots(1, 2)
    for name, folder in runs.items():
        rows = _read(Path(folder) / "log.csv")
        if not rows:
            raise ValueError(f"learning curves: expected a log.csv with rows in {folder}")
        columns = losses or (["loss"] if len(runs) > 1 else [key for key in rows[0] if key.startswith("loss_")])
        for column in columns:
            label = name if len(columns) == 1 else column.removeprefix("loss_")
            loss_axes.plot(*_points(rows, column), label=label, linewidth=1.2)
        validations = _read(Path(folder) / "validation.csv")
        for column, style in _MEASURES.items():
            label = column.replace("_", " ") if len(runs) == 1 else f"{name}, {column.replace('_', ' ')}"
            if validations and column in validations[0]:
                precision_axes.plot(*_points(validations, column), style, label=label, markersize=4)
    loss_axes.set(xlabel="step", ylabel="loss", yscale="log", title="training")
    kinds = {
        "panoptic quality" if "PQ" in str(line.get_label()) else "average precision" for line in precision_axes.lines
    }
    precision_axes.set(xlabel="step", ylabel=", ".join(sorted(kinds)), ylim=(0, None), title="validation")
    for axes in (loss_axes, precision_axes):
        axes.grid(alpha=0.3, which="both")
        if axes.lines:
            axes.legend(fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _read(path: Path) -> Rows:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _points(rows: Rows, column: str) -> tuple[list[int], list[float]]:
    known = [row for row in rows if row.get(column)]
    return [int(row["step"]) for row in known], [float(row[column]) for row in known]
