"""The panoptic part of `condinst evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .tables import percent

if TYPE_CHECKING:
    from condinst.data.panoptic import CocoPanoptic
    from condinst.models.condinst import CondInst

_QUALITIES = ("PQ", "SQ", "RQ")


def score_model(
    model: CondInst, data: CocoPanoptic, limit: int, *, device: str, progress: bool, out: Path | None
) -> dict[str, Any]:
    """The panoptic quality of a model, and what it is of."""
    from condinst.evaluation.categories import match_panoptic_categories
    from condinst.evaluation.panoptic import evaluate_panoptic

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # where it cannot be made, that is better known now
    scores = evaluate_panoptic(
        model,
        data,
        max_images=limit,
        device=device,
        progress=progress,
        category_ids=match_panoptic_categories(data, model.config),
        results_dir=out,
    )
    return {**scores, **_about(data, limit)}


def score_results(results: Path, data: CocoPanoptic, limit: int, *, progress: bool) -> dict[str, Any]:
    """The panoptic quality of results on disk, and what it is of."""
    from condinst.evaluation.panoptic import evaluate_panoptic_results

    scores = evaluate_panoptic_results(results, data, max_images=limit, progress=progress)
    return {**scores, "failed": [], **_about(data, limit), "results": str(results)}


def _about(data: CocoPanoptic, limit: int) -> dict[str, Any]:
    return {"data": str(data.annotations), "images": min(limit or len(data), len(data))}


def print_scores(scores: dict[str, Any]) -> None:
    """Prints a row for all, for things and for stuff, and then one for each class that has segments."""
    console = Console()
    table = Table("", *_QUALITIES, "classes")
    for group in ("all", "things", "stuff"):
        own = scores[group]
        table.add_row(group.capitalize(), *(percent(own[name]) for name in _QUALITIES), str(own["categories"]))
    console.print(table)
    counts = ("TP", "FP", "FN")
    table = Table("class", "", *_QUALITIES, *counts)
    for name, own in scores["per_class"].items():
        if any(own[count] for count in counts):
            kind = "thing" if own["isthing"] else "stuff"
            qualities = (percent(own[quality]) for quality in _QUALITIES)
            table.add_row(escape(name), kind, *qualities, *(str(own[count]) for count in counts))
    if table.row_count:
        console.print(table)
    timing = scores.get("timing")
    speed = f", {timing['total']:.2f} s per image ({timing['model']:.2f} in the model)" if timing else ""
    print(f"{scores['images']} images{speed}")
    if scores["failed"]:
        print(f"{len(scores['failed'])} images were skipped; their segments count as missed")
