"""Precision over recall, as numbers and as a picture."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from condinst.evaluation.matching import Accumulated, mean_known

SUFFIXES = (".png", ".svg", ".pdf")

_LINES = {"AP50": "IoU 0.50", "AP75": "IoU 0.75", "AP": "IoU 0.50 to 0.95"}


def precision_recall(accumulated: Accumulated) -> dict[str, list[float]]:
    """The curves of objects of all sizes, as means over the classes that have objects.

    Args:
        accumulated: precision and recall of an evaluator.

    Returns:
        `recall` 0.00, 0.01 ... 1.00, and the precision at each: `AP50` and `AP75` at one IoU, `AP` the mean over IoU
        0.50:0.95. A curve's mean is the average precision of its name; NaN where there are no objects.
    """
    precision = accumulated.precision[..., 0]
    rows = {
        "AP50": precision[np.isclose(accumulated.iou_thresholds, 0.5)],
        "AP75": precision[np.isclose(accumulated.iou_thresholds, 0.75)],
        "AP": precision,
    }
    recall = accumulated.recall_thresholds
    return {
        "recall": recall.tolist(),
        **{name: [mean_known(row[:, i]) for i in range(len(recall))] for name, row in rows.items()},
    }


def check_can_plot(path: Path) -> None:
    """Raise ValueError, before anything is evaluated, when a picture could not be written."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"plot: expected a name ending in {', '.join(SUFFIXES)}, got {path}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("plot: expected matplotlib, which is not installed; pip install 'condinst[plot]'")


def save_curves(curves: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """Draw precision over recall, a panel for boxes and one for masks.

    Args:
        curves: "box" and "mask" -> what `precision_recall` returns.
        path: the picture; its folder is made.

    Raises:
        ValueError: matplotlib is missing, or the kind of file is unknown.
    """
    check_can_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4.5), layout="constrained")
    for axes, (kind, values) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for name, meaning in _LINES.items():
            area = sum(values[name]) / len(values[name])
            percent = "no objects" if math.isnan(area) else f"{name} {100 * area:.1f}"
            axes.plot(values["recall"], values[name], label=f"{meaning} ({percent})")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=kind)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
