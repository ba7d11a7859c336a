"""`condinst train`."""

from __future__ import annotations

import dataclasses
import logging
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.logging import RichHandler

from .app import Device, Images, app, choose_device

if TYPE_CHECKING:
    from condinst.engine.training import TrainingConfig


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Option(help="COCO instances JSON of the training images.")],
    images: Images = None,
    config: Annotated[str, typer.Option(help="Name of a built-in config, or a TOML file.")] = "condinst_nano",
    out: Annotated[Path, typer.Option(help="Folder for log, checkpoints and weights.")] = Path("outputs/train"),
    backbone: Annotated[
        str | None, typer.Option(help='ImageNet weights of the backbone: a file, or "torchvision".')
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Start from these weights of a whole model.")] = None,
    validation_data: Annotated[Path | None, typer.Option(help="COCO instances JSON to validate on.")] = None,
    validation_images: Annotated[Path | None, typer.Option(help="Folder of its images, as --images.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A field of TrainingConfig, such as steps=2000."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Train a model on a COCO data set. Number and names of the classes come from the annotations."""
    import torch

    import condinst
    from condinst.data.coco import CocoInstances
    from condinst.engine.training import train

    if validation_images is not None and validation_data is None:
        raise ValueError("validation-images: expected --validation-data with it")
    if weights is not None and backbone is not None:
        raise ValueError("weights: expected --weights or --backbone, got both")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    training = _training_config(settings or [])
    chosen_device = choose_device(device)
    dataset = CocoInstances(data, images or data.parent)
    validation = None
    if validation_data is not None:
        validation = CocoInstances(validation_data, validation_images or validation_data.parent)
    torch.manual_seed(training.seed)
    classes: dict[str, Any] = {
        "num_classes": len(dataset.category_ids),
        "class_names": dataset.class_names,
        "category_ids": tuple(dataset.category_ids),
    }
    if weights is not None:
        model = condinst.load(weights, **classes)
    else:
        model = condinst.CondInst(condinst.load_config(config).replace(**classes))
        if backbone is not None:
            condinst.load_backbone(model, backbone)
    result = train(model, training, dataset, out, validation=validation, device=chosen_device, resume=resume)
    print(f"weights in {result}")


def _training_config(settings: list[str]) -> TrainingConfig:
    """Makes a config from NAME=VALUE words; values are written as in TOML, quotes may be left out."""
    from condinst.engine.training import TrainingConfig

    fields = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in fields:
            raise ValueError(f"--set: expected NAME=VALUE with one of {', '.join(fields)}; got {setting!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(fields[name], float) and type(value) is int:
            value = float(value)
        if type(value) is not type(fields[name]):
            raise ValueError(f"--set {name}: expected {type(fields[name]).__name__}, got {text!r}")
        values[name] = value
    return TrainingConfig(**values)
