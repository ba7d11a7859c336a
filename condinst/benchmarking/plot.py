"""The plot of time against the number of instances."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from .results import Row

SUFFIXES = (".png", ".svg", ".pdf")


def check_can_plot(path: Path) -> None:
    """Raise ValueError if a plot could not be written, before anything is measured."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"plot: expected a name ending in {', '.join(SUFFIXES)}, got {path}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: expected matplotlib, which is not installed; pip install 'condinst[plot]'")


def save_plot(rows: Sequence[Row], path: Path) -> None:
    """Draw the median time of each variant against the number of instances, both axes logarithmic.

    Args:
        rows: rows of one study and one run.
        path: path of the picture; its folder is made.

    Raises:
        ValueError: matplotlib is missing, or the kind of file is unknown.
    """
    check_can_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for variant in dict.fromkeys(row.variant for row in rows):
        points = [(row.num_instances, row.p50_ms) for row in rows if row.variant == variant]
        axes.plot(*zip(*points, strict=True), marker="o", label=variant)
    floors = sorted({(row.num_instances or 0, row.floor_ms) for row in rows})
    axes.plot(*zip(*floors, strict=True), linestyle="--", color="black", label="floor")
    axes.set(xscale="log", yscale="log", xlabel="instances", ylabel="milliseconds (median)")
    axes.set_title(f"{rows[0].op}, {rows[0].direction}, {rows[0].device}")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
