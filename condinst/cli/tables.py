"""Scores as tables on the terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from .app import make_console

_QUALITIES = ("PQ", "SQ", "RQ")


def percent(value: float) -> str:
    """A share in percent, "-" for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def print_average_precision(scores: dict[str, Any]) -> None:
    """Prints a row for boxes and one for masks, and the classes where there are several."""
    metrics = [name for name in scores["mask"] if name != "per_class"]
    table = Table("", *metrics)
    for kind in ("box", "mask"):
        table.add_row(kind, *(percent(scores[kind][name]) for name in metrics))
    console = make_console()
    console.print(table)
    classes = scores["mask"]["per_class"]
    if len(classes) > 1:
        table = Table("class", "box AP", "mask AP")
        for name in classes:
            table.add_row(escape(name), *(percent(scores[kind]["per_class"][name]) for kind in ("box", "mask")))
        console.print(table)
    timing = scores.get("timing")
    speed = f", {timing['total']:.2f} s per image ({timing['model']:.2f} in the model)" if timing else ""
    print(f"{scores['images']} images, at most {scores['max_detections']} objects each{speed}")
    for reason, count in scores.get("left_out", {}).items():
        print(f"{count} results were left out: {reason}")
    if scores["failed"]:
        print(f"{len(scores['failed'])} images were skipped; their objects count as missed")


def print_panoptic_quality(scores: dict[str, Any]) -> None:
    """Prints a row for all, for things and for stuff, and then one for each class that has segments."""
    console = make_console()
    table = Table("", *_QUALITIES, "classes")
    for group in ("all", "things", "stuff"):
        score = scores[group]
        table.add_row(group.capitalize(), *(percent(score[name]) for name in _QUALITIES), str(score["categories"]))
    console.print(table)
    counts = ("TP", "FP", "FN")
    table = Table("class", "", *_QUALITIES, *counts)
    for name, score in scores["per_class"].items():
        if any(score[count] for count in counts):
            kind = "thing" if score["isthing"] else "stuff"
            qualities = (percent(score[quality]) for quality in _QUALITIES)
            table.add_row(escape(name), kind, *qualities, *(str(score[count]) for count in counts))
    if table.row_count:
        console.print(table)
    timing = scores.get("timing")
    speed = f", {timing['total']:.2f} s per image ({timing['model']:.2f} in the model)" if timing else ""
    print(f"{scores['images']} images{speed}")
    if scores["failed"]:
        print(f"{len(scores['failed'])} images were skipped; their segments count as missed")
