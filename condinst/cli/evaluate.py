"""`condinst evaluate`."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .app import Device, Images, app, choose_device

if TYPE_CHECKING:
    from condinst.data.coco import CocoInstances
    from condinst.models.condinst import CondInst


@app.command("evaluate")
def evaluate_command(
    data: Annotated[Path, typer.Option(help="COCO instances JSON, or the folder of COCO or of Cityscapes.")],
    images: Images = None,
    split: Annotated[str, typer.Option(help="Which part of a folder, such as val or val2017.")] = "val",
    config: Annotated[
        str | None, typer.Option(help="Name of a built-in config, or a TOML file: the model, without its weights.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Name of a built-in model, a .safetensors, or a .pth of AdelaiDet or MMDetection; by default those"
            " that come with --config, or condinst_nano."
        ),
    ] = None,
    max_dets: Annotated[
        int | None, typer.Option(min=1, help="Objects per image that count; by default the model's own number.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.json, metrics.json and precision_recall.png.")
    ] = None,
    plot: Annotated[bool, typer.Option(help="Draw precision_recall.png into --out.")] = True,
    limit: Annotated[int, typer.Option(min=0, help="Only so many of the first images; 0 for all.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compute the COCO average precision of boxes and masks.

    Images that cannot be read are named at the end, their objects count as missed, and the exit code is 1. Under
    torchrun the processes share the images.
    """
    from condinst.data.open import open_instances
    from condinst.evaluation.categories import match_categories
    from condinst.evaluation.coco import evaluate_coco, json_ready, write_json
    from condinst.evaluation.curves import check_can_plot, save_curves
    from condinst.evaluation.evaluators import choose_evaluator

    picture = out / "precision_recall.png" if out is not None and plot else None
    if picture is not None:
        check_can_plot(picture)
    dataset = open_instances(data, images, split, progress=not as_json)
    count = min(limit or len(dataset), len(dataset))
    _check_data(dataset, count)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # where it cannot be made, that is better known now
    logging.getLogger("condinst").addHandler(logging.NullHandler())  # skipped images are listed at the end
    with _processes(device) as (chosen_device, rank):
        model = _load(config, weights, chosen_device, {} if max_dets is None else {"max_detections": max_dets})
        most = model.config.max_detections or 100
        scores = evaluate_coco(
            model,
            dataset,
            max_detections=most,
            max_images=limit,
            device=chosen_device,
            progress=not as_json,
            category_ids=match_categories(
                dataset.category_ids,
                dataset.class_names,
                num_classes=model.config.num_classes,
                model_ids=model.config.category_ids,
                model_names=model.config.class_names,
            ),
            results_path=None if out is None else out / "results.json",
            curves=True,
        )
    if rank == 0:
        curves = scores.pop("curves")
        about = {
            "data": str(dataset.annotations),
            "images": count,
            "model": model.config.name,
            "weights": weights,
            "max_detections": most,
            "device": chosen_device,
            "evaluator": choose_evaluator("auto"),
        }
        report = json_ready({**scores, **about})
        if out is not None:
            write_json(out / "metrics.json", {**report, "curves": json_ready(curves)})
        if picture is not None:
            save_curves(curves, picture)
        if as_json:
            print(json.dumps(report, indent=1))
        else:
            _print(scores, count, most)
        for failure in scores["failed"]:
            print(f"error: {failure['path']}: {failure['reason']}", file=sys.stderr)
    if scores["failed"]:
        raise typer.Exit(1)


def _check_data(data: CocoInstances, count: int) -> None:
    """Raises where the first `count` images could give no score, before a model is loaded."""
    if not any(data.coco.imgToAnns[image_id] for image_id in data.image_ids[:count]):
        raise ValueError(f"{data.annotations}: expected annotations to compare with, got none in {count} images")
    if not any(data.image_path(index).is_file() for index in range(count)):
        raise ValueError(
            f"images: expected the folder of the images of {data.annotations}; {data.image_path(0)} and all others are"
            " missing"
        )


def _load(config: str | None, weights: str | None, device: str, overrides: dict[str, Any]) -> CondInst:
    """The model of a config, of weights, or of both."""
    import torch

    import condinst

    torch.manual_seed(0)  # processes that share the images need the same random weights
    if weights is not None:
        return condinst.load(weights, config, device=device, **overrides)
    if config is None or config in condinst.config_names():
        return condinst.load(config or "condinst_nano", device=device, **overrides)
    model = condinst.CondInst(condinst.load_config(config).replace(**overrides))
    warnings.warn(f"{config}: no weights come with this config; the model has random ones", stacklevel=2)
    return model.to(device).eval()


@contextlib.contextmanager
def _processes(device: str) -> Iterator[tuple[str, int]]:
    """Joins the other processes that torchrun started, if it did. Yields this one's device and rank."""
    import torch
    from torch import distributed

    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield choose_device(device), 0
        return
    chosen = choose_device(device)
    if chosen == "cuda":
        chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.startswith("cuda") else "gloo")
    rank = distributed.get_rank()
    try:
        with warnings.catch_warnings():
            if rank > 0:
                warnings.simplefilter("ignore")  # the first process has said it
            yield chosen, rank
    finally:
        distributed.destroy_process_group()


def _print(scores: dict[str, Any], images: int, most: int) -> None:
    """Prints a row for boxes and one for masks, and the classes where there are several."""
    metrics = [name for name in scores["mask"] if name != "per_class"]
    table = Table("", *metrics)
    for kind in ("box", "mask"):
        table.add_row(kind, *(_percent(scores[kind][name]) for name in metrics))
    console = Console()
    console.print(table)
    classes = scores["mask"]["per_class"]
    if len(classes) > 1:
        table = Table("class", "box AP", "mask AP")
        for name in classes:
            table.add_row(escape(name), *(_percent(scores[kind]["per_class"][name]) for kind in ("box", "mask")))
        console.print(table)
    timing = scores["timing"]
    print(
        f"{images} images, at most {most} objects each, {timing['total']:.2f} s per image"
        f" ({timing['model']:.2f} in the model)"
    )
    if scores["failed"]:
        print(f"{len(scores['failed'])} images were skipped; their objects count as missed")


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
