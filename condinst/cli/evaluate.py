"""`condinst evaluate`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .app import Device, Images, Weights, app, choose_device


@app.command("evaluate")
def evaluate_command(
    data: Annotated[Path, typer.Option(help="COCO instances JSON.")],
    images: Images = None,
    weights: Weights = "condinst_nano",
    max_dets: Annotated[
        int | None, typer.Option(min=1, help="Objects per image that count; by default the model's own number.")
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compute the COCO average precision of boxes and masks."""
    import condinst
    from condinst.data.coco import CocoInstances
    from condinst.evaluation.coco import evaluate_coco, json_ready

    dataset = CocoInstances(data, images or data.parent)
    chosen_device = choose_device(device)
    overrides: dict[str, Any] = {} if max_dets is None else {"max_detections": max_dets}
    model = condinst.load(weights, device=chosen_device, **overrides)
    if len(dataset.category_ids) != model.config.num_classes:
        raise ValueError(
            f"weights: expected a model of {len(dataset.category_ids)} classes, as many as {data} has,"
            f" got one of {model.config.num_classes}"
        )
    count = model.config.max_detections or 100
    start = time.monotonic()
    scores = evaluate_coco(model, dataset, max_detections=count, device=chosen_device, progress=not as_json)
    seconds = time.monotonic() - start
    if as_json:
        print(json.dumps(json_ready(scores), indent=1))
        return
    metrics = [name for name in scores["mask"] if name != "per_class"]
    table = Table("", *metrics)
    for kind, values in scores.items():
        table.add_row(kind, *(f"{100 * values[name]:.2f}" for name in metrics))
    Console().print(table)
    print(f"{len(dataset)} images, at most {count} objects each, {seconds / max(len(dataset), 1):.2f} s per image")
