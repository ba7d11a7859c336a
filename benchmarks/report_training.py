"""Writes the results of trainings and their curves into docs/: ``python benchmarks/report_training.py``.

``docs/logs/NAME/`` has what a run left: `training.json`, `log.csv` and `validation.csv` of ``condinst train``, or the
`metrics.json` of ``train_mask_rcnn.py``. In ``docs/logs/panoptic_sample/`` there is also the `metrics.json` of
``panoptic_sample.py``. The results of ``compare_precisions.py`` become the table of precisions.
"""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

from condinst.benchmarking.tables import TextTable
from condinst.visualization import save_learning_curves
from studies.pages import Part, block_part
from studies.program import RESULTS, ROOT, Program, make_report_parser

LOGS = ROOT / "docs/logs"
PRECISIONS = RESULTS / "precisions.json"
PANOPTIC = LOGS / "panoptic_sample"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def main() -> None:
    """Rewrite the tables and the pictures."""
    ours = sorted(folder for folder in LOGS.iterdir() if (folder / "validation.csv").exists() and folder != PANOPTIC)
    parts = [
        block_part("docs/training.md", "results", lambda: [_results(ours).markdown(), *map(_curves, ours)]),
        block_part("docs/training.md", "precisions", _precisions),
        block_part("docs/panoptic.md", "panoptic", lambda: [_panoptic_scores().markdown(), _curves(PANOPTIC)]),
        block_part("docs/condinst_nano.md", "scores", lambda: [_scores(LOGS / "condinst_nano_packaged").markdown()]),
        *(Part(_picture(folder), partial(_draw_curves, folder)) for folder in (*ours, PANOPTIC)),
    ]
    Program(make_report_parser(__doc__)).write_parts(parts)


def _results(ours: list[Path]) -> TextTable:
    """All runs: those of ``condinst train``, and the others."""
    others = sorted(folder for folder in LOGS.iterdir() if (folder / "metrics.json").exists() and folder != PANOPTIC)
    return TextTable(
        "Average precision in percent, of all validation images",
        ["run", "steps x images", "minutes", *(f"mask {name}" for name in METRICS), "box AP"],
        [*map(_our_row, ours), *map(_other_row, others)],
    )


def _precisions() -> list[str]:
    """Where the steps were timed, and the table of instructions and precisions."""
    measured = json.loads(PRECISIONS.read_text())
    names = list(dict.fromkeys(row["precision"] for row in measured["rows"]))
    by_instructions: dict[str, dict[str, dict[str, Any]]] = {}
    for row in measured["rows"]:
        by_instructions.setdefault(row["instructions"], {})[row["precision"]] = row
    cells = []
    for instructions, rows in by_instructions.items():
        variables = ", ".join(f"`{name}={value}`" for name, value in rows["auto"]["environment"].items())
        seconds = {name: rows[name]["median_seconds"] for name in names}
        cells.append(
            [
                f"{instructions} ({variables})" if variables else instructions,
                *(f"{value:.2f}" for value in seconds.values()),
                f"`{rows['auto']['chosen']}`",
                f"{seconds['bf16-mixed'] / seconds['auto']:.1f}x",
            ]
        )
    columns = ["instructions", *(f"`{name}`" for name in names), "`auto` took", "`bf16-mixed` / `auto`"]
    origin = f"{measured['device']}, torch {measured['torch']}, commit {measured['commit']}, {measured['date'][:10]}."
    fewest = min(len(row["seconds"]) for row in measured["rows"])
    timed = "one timed step each" if fewest == 1 else f"the median of at least {fewest} timed steps"
    title = f"Seconds of processor time a step of condinst_nano, {timed}"
    return [origin, TextTable(title, columns, cells).markdown()]


def _picture(folder: Path) -> str:
    """The path of the learning curves of a run in the repository."""
    return f"docs/images/training_{folder.name}.png"


def _draw_curves(folder: Path, out: Path) -> None:
    save_learning_curves({folder.name: folder}, out / _picture(folder))


def _curves(folder: Path) -> str:
    """What shows the learning curves of a run on a page."""
    name = Path(_picture(folder)).name
    return f"![Learning curves of {folder.name}](images/{name})\n\n*{folder.name}*"


def _panoptic_scores() -> TextTable:
    """Panoptic quality of all, things and stuff, and of the classes that are there."""
    metrics = json.loads((PANOPTIC / "metrics.json").read_text())
    training = json.loads((PANOPTIC / "training.json").read_text())["training"]
    last = _rows(PANOPTIC / "log.csv")[-1]
    of_kinds = {f"{name} ({metrics[name]['categories']} classes)": metrics[name] for name in ("all", "things", "stuff")}
    cells = [
        [
            name,
            *(_percent(one[key]) for key in ("PQ", "SQ", "RQ")),
            *(str(one.get(key, "")) for key in ("TP", "FP", "FN")),
        ]
        for name, one in (of_kinds | metrics["per_class"]).items()
    ]
    title = f"The training images after {last['step']} steps of {training['batch_size']} images, in percent"
    return TextTable(title, ["", "PQ", "SQ", "RQ", "TP", "FP", "FN"], cells)


def _scores(folder: Path) -> TextTable:
    """Boxes and masks at the end of a run."""
    training = json.loads((folder / "training.json").read_text())["training"]
    last = _rows(folder / "validation.csv")[-1]
    cells = [[kind, *(_percent(last[f"{kind}_{name}"]) for name in METRICS)] for kind in ("mask", "box")]
    title = f"{last['images']} images, after {training['steps']} steps of {training['batch_size']} crops"
    return TextTable(title, ["", *METRICS], cells)


def _our_row(folder: Path) -> list[str]:
    training = json.loads((folder / "training.json").read_text())["training"]
    log, validation = (_rows(folder / f"{name}.csv") for name in ("log", "validation"))
    before, seconds = 0, 0.0
    for row in log:
        seconds += float(row["seconds_per_step"]) * (int(row["step"]) - before)
        before = int(row["step"])
    last = validation[-1]
    figures = [last[f"mask_{name}"] for name in METRICS] + [last["box_AP"]]
    return [folder.name, f"{before} x {training['batch_size']}", f"{seconds / 60:.1f}", *map(_percent, figures)]


def _other_row(folder: Path) -> list[str]:
    metrics = json.loads((folder / "metrics.json").read_text())
    figures = [metrics["mask"][name] for name in METRICS] + [metrics["box"]["AP"]]
    batch_size = round(metrics["images_seen"] / metrics["steps"])
    return [folder.name, f"{metrics['steps']} x {batch_size}", f"{metrics['minutes']:.1f}", *map(_percent, figures)]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _percent(value: str | float | None) -> str:
    return "-" if value in (None, "nan") else f"{100 * float(value):.1f}"


if __name__ == "__main__":
    main()
