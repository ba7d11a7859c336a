"""`condinst evaluate`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import evaluate_panoptic
from .app import Device, Images, Segments, app, choose_device
from .tables import percent

if TYPE_CHECKING:
    from condinst.data.annotated import AnnotatedImages
    from condinst.data.coco import CocoInstances
    from condinst.models.condinst import CondInst


@app.command("evaluate")
def evaluate_command(
    data: Annotated[
        Path, typer.Option(help="COCO JSON of instances or of panoptic segments, or the folder of COCO or Cityscapes.")
    ],
    images: Images = None,
    segments: Segments = None,
    task: Annotated[
        Literal["instance", "panoptic"] | None,
        typer.Option(help="instance: average precision; panoptic: PQ. By default what the model is for."),
    ] = None,
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
    results: Annotated[
        Path | None,
        typer.Option(help="Score these panoptic results, a JSON file with its folder of PNGs; no model runs."),
    ] = None,
    max_dets: Annotated[
        int | None, typer.Option(min=1, help="Objects per image that count; by default the model's own number.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json and, of instances, results.json and precision_recall.png; of panoptic results"
            " panoptic.json and its folder of PNGs."
        ),
    ] = None,
    plot: Annotated[bool, typer.Option(help="Draw precision_recall.png into --out.")] = True,
    limit: Annotated[int, typer.Option(min=0, help="Only so many of the first images; 0 for all.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compute the COCO average precision of boxes and masks, or the panoptic quality.

    Images that cannot be read are named at the end, their objects count as missed, and the exit code is 1. Under
    torchrun the processes share the images.
    """
    from condinst.data.open import open_instances, open_panoptic
    from condinst.distributed import launched_rank
    from condinst.evaluation.curves import check_can_plot, save_curves

    if results is not None:
        if launched_rank() > 0:
            return  # no model runs, so the first process needs no help
        if task == "instance" or any(option is not None for option in (config, weights, max_dets)):
            raise ValueError("results: expected --task panoptic and neither --config nor --weights nor --max-dets")
        panoptic_data = open_panoptic(data, images, segments, split, progress=not as_json, need_images=False)
        _check_out(out, [panoptic_data.annotations, results])
        scores = evaluate_panoptic.score_results(results, panoptic_data, limit, progress=not as_json)
        _report(scores, out, as_json, evaluate_panoptic.print_scores)
        return
    picture = out / "precision_recall.png" if out is not None and plot else None
    logging.getLogger("condinst").addHandler(logging.NullHandler())  # skipped images are listed at the end
    with _processes(device) as (chosen_device, rank):
        model = _load(config, weights, chosen_device, {} if max_dets is None else {"max_detections": max_dets})
        if model.config.panoptic if task is None else task == "panoptic":
            if not model.config.panoptic:
                raise ValueError(f"task: expected instance, as {model.config.name!r} is no panoptic model, got {task}")
            picture = None
            panoptic_data = open_panoptic(data, images, segments, split, progress=not as_json and rank == 0)
            _check_images(panoptic_data, limit)
            _check_out(out, [panoptic_data.annotations])
            scores = evaluate_panoptic.score_model(
                model, panoptic_data, limit, device=chosen_device, progress=not as_json, out=out
            )
        else:
            if segments is not None:
                raise ValueError(f"segments: expected none with --task instance, got {segments}")
            if picture is not None:
                check_can_plot(picture)
            dataset = open_instances(data, images, split, progress=not as_json and rank == 0)
            _check_annotations(dataset, limit)
            _check_images(dataset, limit)
            _check_out(out, [dataset.annotations])
            scores = _score_instances(model, dataset, limit, device=chosen_device, progress=not as_json, out=out)
    if rank == 0:
        if picture is not None:
            save_curves(scores["curves"], picture)
        about = {"model": model.config.name, "weights": weights, "device": chosen_device}
        _report({**scores, **about}, out, as_json, _print if "mask" in scores else evaluate_panoptic.print_scores)
    if scores["failed"]:
        raise typer.Exit(1)


def _score_instances(
    model: CondInst, data: CocoInstances, limit: int, *, device: str, progress: bool, out: Path | None
) -> dict[str, Any]:
    """The scores of boxes and masks, their curves, and what they are of."""
    from condinst.evaluation.categories import match_categories
    from condinst.evaluation.coco import evaluate_coco
    from condinst.evaluation.evaluators import choose_evaluator

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # where it cannot be made, that is better known now
    most = model.config.max_detections or 100
    scores = evaluate_coco(
        model,
        data,
        max_detections=most,
        max_images=limit,
        device=device,
        progress=progress,
        category_ids=match_categories(
            data.category_ids,
            data.class_names,
            num_classes=model.config.num_classes,
            model_ids=model.config.category_ids,
            model_names=model.config.class_names,
        ),
        results_path=None if out is None else out / "results.json",
        curves=True,
    )
    about = {
        "data": str(data.annotations),
        "images": min(limit or len(data), len(data)),
        "max_detections": most,
        "evaluator": choose_evaluator("auto"),
    }
    return {**scores, **about}


def _report(
    scores: dict[str, Any], out: Path | None, as_json: bool, print_scores: Callable[[dict[str, Any]], None]
) -> None:
    """Writes metrics.json, prints JSON or tables, and names the skipped images on stderr."""
    from condinst.evaluation.coco import json_ready
    from condinst.files import write_json

    if out is not None:
        write_json(out / "metrics.json", json_ready(scores))
    if as_json:
        print(json.dumps(json_ready({key: value for key, value in scores.items() if key != "curves"}), indent=1))
    else:
        print_scores(scores)
    for failure in scores["failed"]:
        print(f"error: {failure['path']}: {failure['reason']}", file=sys.stderr)


def _check_annotations(data: CocoInstances, limit: int) -> None:
    """Raises where the first `limit` images, or all, could give no score."""
    count = min(limit or len(data), len(data))
    if not any(data.coco.imgToAnns[image_id] for image_id in data.image_ids[:count]):
        raise ValueError(f"{data.annotations}: expected annotations to compare with, got none in {count} images")


def _check_images(data: AnnotatedImages, limit: int) -> None:
    """Raises where none of the first `limit` images, or of all, is there."""
    count = min(limit or len(data), len(data))
    if not any(data.image_path(index).is_file() for index in range(count)):
        example = f"; {data.image_path(0)} and all others are missing" if count else ""
        raise ValueError(f"images: expected the folder of the images of {data.annotations}{example}")


def _check_out(out: Path | None, inputs: list[Path]) -> None:
    """Raises where metrics.json would overwrite an input."""
    from condinst.evaluation.runner import check_output

    if out is not None:
        check_output(out / "metrics.json", inputs)


def _load(config: str | None, weights: str | None, device: str, overrides: dict[str, Any]) -> CondInst:
    """The model of a config, of weights, or of both."""
    import torch

    import condinst
    from condinst.models.checkpoints import new_model

    torch.manual_seed(0)  # processes that share the images need the same random weights
    if weights is not None:
        return condinst.load(weights, config, device=device, **overrides)
    if config is None or config in condinst.config_names():
        return condinst.load(config or "condinst_nano", device=device, **overrides)
    model = new_model(condinst.load_config(config).replace(**overrides))
    warnings.warn(f"{config}: no weights come with this config; the model has random ones", stacklevel=2)
    return model.to(device).eval()


@contextlib.contextmanager
def _processes(device: str) -> Iterator[tuple[str, int]]:
    """Joins the other processes that torchrun started, if it did. Yields this one's device and rank."""
    import torch
    from torch import distributed

    from condinst.distributed import is_launched

    if not is_launched():
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


def _print(scores: dict[str, Any]) -> None:
    """Prints a row for boxes and one for masks, and the classes where there are several."""
    metrics = [name for name in scores["mask"] if name != "per_class"]
    table = Table("", *metrics)
    for kind in ("box", "mask"):
        table.add_row(kind, *(percent(scores[kind][name]) for name in metrics))
    console = Console()
    console.print(table)
    classes = scores["mask"]["per_class"]
    if len(classes) > 1:
        table = Table("class", "box AP", "mask AP")
        for name in classes:
            table.add_row(escape(name), *(percent(scores[kind]["per_class"][name]) for kind in ("box", "mask")))
        console.print(table)
    timing = scores["timing"]
    print(
        f"{scores['images']} images, at most {scores['max_detections']} objects each, {timing['total']:.2f} s per image"
        f" ({timing['model']:.2f} in the model)"
    )
    if scores["failed"]:
        print(f"{len(scores['failed'])} images were skipped; their objects count as missed")
