"""The files of an evaluation, which replace those of an earlier evaluation alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from condinst.files import check_replaceable

METRICS = "metrics.json"
CURVES = "precision_recall.png"
INSTANCES = ("results.json",)
PANOPTIC = ("panoptic.json", "panoptic")
_KEYS = {"data", "images", "failed"}
"""What every evaluation writes into METRICS."""


def check_result_files(out: Path, names: Iterable[str]) -> None:
    """Checks that an evaluation may write files of these names, and METRICS, into a folder, which may be missing.

    Raises:
        FileExistsError: one of them is there, and METRICS does not say that an earlier evaluation has written it.
    """
    earlier = _earlier_files(out / METRICS)
    for name in (METRICS, *names):
        check_replaceable(out / name, ours=name in earlier)


def _earlier_files(metrics: Path) -> set[str]:
    """What an earlier evaluation has written; nothing where the metrics are not ours."""
    try:
        scores = json.loads(metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(scores, dict) or not scores.keys() >= _KEYS:
        return set()
    if "results" in scores:  # a file was scored, perhaps one that lies beside the metrics
        return {METRICS}
    results = INSTANCES if "mask" in scores else PANOPTIC
    return {METRICS, *results, *[CURVES] * ("curves" in scores)}
