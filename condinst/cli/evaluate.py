"""`condinst evaluate`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .app import Device, Images, MaxPixels, Segments, app, choose_device, limit_pixels
from .tables import print_average_precision, print_panoptic_quality

if TYPE_CHECKING:
    from condinst.data.coco import CocoInstances
    from condinst.models.condinst import CondInst
    from condinst.models.config import CondInstConfig


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
        typer.Option(
            help="Score these results of any tool: a JSON file in COCO's format, of panoptic ones with its folder of"
            " PNGs. No model runs."
        ),
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
    max_pixels: MaxPixels = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compute the COCO average precision of boxes and masks, or the panoptic quality.

    Images that cannot be read are named at the end, their objects count as missed, and the exit code is 1. Under
    torchrun the processes share the images.
    """
    from condinst.data.open import open_instances, open_panoptic
    from condinst.data.panoptic import CocoPanoptic
    from condinst.distributed import launched_rank
    from condinst.evaluation.curves import check_can_plot, save_curves
    from condinst.evaluation.evaluator import make_evaluator
    from condinst.evaluation.result_files import CURVES, INSTANCES, PANOPTIC

    limit_pixels(max_pixels)
    progress = not as_json and launched_rank() == 0
    if results is not None:
        if launched_rank() > 0:
            return  # no model runs, so the first process needs no help
        if config is not None or weights is not None:
            raise ValueError("results: expected neither --config nor --weights with results, which need no model")
        scores = _score_results(results, data, images, segments, task, split, max_dets, out, limit, progress)
        _report(scores, out, as_json)
        return
    logging.getLogger("condinst").addHandler(logging.NullHandler())  # skipped images are listed at the end
    with _processes(device) as chosen_device:
        model = _load(config, weights, chosen_device, {} if max_dets is None else {"max_detections": max_dets})
        if _is_panoptic(task, model.config, segments):
            picture = None
            dataset: CocoInstances | CocoPanoptic = open_panoptic(data, images, segments, split, progress=progress)
        else:
            picture = out / CURVES if out is not None and plot else None
            if picture is not None:
                check_can_plot(picture)
            dataset = open_instances(data, images, split, progress=progress)
        evaluator = make_evaluator(dataset, model.config, results_dir=out, curves=picture is not None)
        names = PANOPTIC if isinstance(dataset, CocoPanoptic) else INSTANCES
        _prepare_out(out, [*names, *[CURVES] * (picture is not None)], [dataset.annotations])
        scores = evaluator.evaluate(model, max_images=limit, device=chosen_device, progress=progress)
    if launched_rank() == 0:
        about = {"model": model.config.name, "weights": weights, "device": chosen_device}
        _report({**scores, **about}, out, as_json)
        if picture is not None:
            save_curves(scores["curves"], picture)
    if scores["failed"]:
        raise typer.Exit(1)


def _score_results(
    results: Path,
    data: Path,
    images: Path | None,
    segments: Path | None,
    task: str | None,
    split: str,
    max_dets: int | None,
    out: Path | None,
    limit: int,
    progress: bool,
) -> dict[str, Any]:
    """The scores of a file of results; it says by itself whether they are panoptic."""
    from condinst.data.json_files import read_json
    from condinst.data.open import is_panoptic, open_instances, open_panoptic
    from condinst.evaluation.coco import InstanceEvaluator
    from condinst.evaluation.panoptic import PanopticEvaluator

    content = read_json(results)
    if task == "panoptic" or (task is None and (segments is not None or is_panoptic(content))):
        if max_dets is not None:
            raise ValueError("max-dets: expected none with panoptic results")
        panoptic = open_panoptic(data, images, segments, split, progress=progress, need_images=False)
        _prepare_out(out, [], [panoptic.annotations, results])
        scorer = PanopticEvaluator(panoptic)
        return scorer.evaluate_results(results, content=content, max_images=limit, progress=progress)
    instances = open_instances(data, images, split, progress=progress, need_images=False)
    _prepare_out(out, [], [instances.annotations, results])
    evaluator = InstanceEvaluator(instances, max_detections=max_dets or 100)
    return evaluator.evaluate_results(results, content=content, max_images=limit)


def _is_panoptic(task: str | None, config: CondInstConfig, segments: Path | None) -> bool:
    """Whether panoptic results are scored: by default what the model is for."""
    panoptic = config.panoptic if task is None else task == "panoptic"
    if panoptic and not config.panoptic:
        raise ValueError(f"task: expected instance, as {config.name!r} is no panoptic model, got {task}")
    if segments is not None and not panoptic:
        raise ValueError(f"segments: expected none with --task instance, got {segments}")
    return panoptic


def _prepare_out(out: Path | None, names: list[str], inputs: list[Path]) -> None:
    """Makes the folder before the long work begins. Files are replaced there if they are of an earlier evaluation."""
    from condinst.distributed import wait_for_all
    from condinst.evaluation.result_files import METRICS, check_result_files
    from condinst.evaluation.runner import check_output

    if out is not None:
        check_output(out / METRICS, inputs)
        check_result_files(out, names)
        wait_for_all()  # or this process would see what the others write
        out.mkdir(parents=True, exist_ok=True)


def _report(scores: dict[str, Any], out: Path | None, as_json: bool) -> None:
    """Writes metrics.json, prints JSON or tables, and names the skipped images on stderr."""
    from condinst.evaluation.result_files import METRICS
    from condinst.files import json_ready, write_json

    if out is not None:
        write_json(out / METRICS, json_ready(scores))
    if as_json:
        print(json.dumps(json_ready({key: value for key, value in scores.items() if key != "curves"}), indent=1))
    elif "mask" in scores:
        print_average_precision(scores)
    else:
        print_panoptic_quality(scores)
    for failure in scores["failed"]:
        print(f"error: {failure['path']}: {failure['reason']}", file=sys.stderr)


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
def _processes(device: str) -> Iterator[str]:
    """Joins the other processes that torchrun started, if it did. Yields the device of this one."""
    import torch
    from torch import distributed

    from condinst.distributed import is_launched

    if not is_launched():
        yield choose_device(device)
        return
    chosen = choose_device(device)
    if chosen == "cuda":
        chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.startswith("cuda") else "gloo")
    try:
        with warnings.catch_warnings():
            if distributed.get_rank() > 0:
                warnings.simplefilter("ignore")  # the first process has said it
            yield chosen
    finally:
        distributed.destroy_process_group()
