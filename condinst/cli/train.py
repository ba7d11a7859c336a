"""`condinst train`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from .app import Device, app, choose_device


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Option(help="A COCO instances JSON, a folder laid out as COCO, or Cityscapes.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images; by default that of the JSON file.")] = None,
    config: Annotated[
        str | None,
        typer.Option(help="Name of a built-in config, or a TOML file; by default that of --weights, or condinst_nano."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for logs, checkpoints and weights.")] = Path("outputs/train"),
    backbone: Annotated[
        str | None, typer.Option(help='ImageNet weights of the backbone: a file, or "torchvision".')
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Start from these weights of a whole model; with other classes, from the rest.")
    ] = None,
    validation_data: Annotated[
        Path | None, typer.Option(help="Data to validate on, as --data; of such a folder, its own split val.")
    ] = None,
    validation_images: Annotated[Path | None, typer.Option(help="Folder of its images, as --images.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A field of TrainingConfig, such as steps=2000."),
    ] = None,
    model_settings: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME=VALUE", help="A field of CondInstConfig, such as nms_threshold=0.5."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Train a model on instance masks. Number and names of the classes come from the data.

    The config says how in its table [training]; --set changes that. With torchrun in front, on several GPUs.
    """
    import torch

    import condinst
    from condinst.data.open import open_instances
    from condinst.engine.config import load_training_config, parse_settings
    from condinst.engine.training import train
    from condinst.models.checkpoints import fine_tune

    if validation_images is not None and validation_data is None:
        raise ValueError("validation-images: expected --validation-data with it")
    if weights is not None and backbone is not None:
        raise ValueError("weights: expected --weights or --backbone, got both")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_log_handler()])
    for name in ("lightning_fabric", "condinst.backends", "faster_coco_eval"):
        logging.getLogger(name).setLevel(logging.WARNING)
    chosen_device = choose_device(device)
    recipe = config or ("condinst_nano" if weights is None else _recipe_of(weights))
    training = load_training_config(recipe, settings or [])
    dataset = open_instances(data, images, split="train")
    validation = None
    if validation_data is not None:
        validation = open_instances(validation_data, validation_images, split="val")
    torch.manual_seed(training.seed)
    overrides: dict[str, Any] = parse_settings("--model", condinst.CondInstConfig, model_settings or [])
    overrides |= {
        "num_classes": len(dataset.category_ids),
        "class_names": dataset.class_names,
        "category_ids": tuple(dataset.category_ids),
    }
    if weights is not None:
        model = fine_tune(weights, config, **overrides)
    else:
        model = condinst.CondInst(condinst.load_config(recipe).replace(**overrides))
        if backbone is not None:
            condinst.load_backbone(model, backbone)
        elif model.config.backbone_norm == "FrozenBN" and not resume:
            warnings.warn(
                f"{recipe}: the backbone has random weights and frozen norms; expected --backbone or --weights",
                stacklevel=2,
            )
    try:
        result = train(model, training, dataset, out, validation=validation, device=chosen_device, resume=resume)
    except KeyboardInterrupt:
        saved = out / "last.pt"
        print(f"interrupted{f'; --resume goes on from {saved}' if saved.exists() else ''}", file=sys.stderr)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") == "0":
        print(f"weights in {result}")


def _recipe_of(weights: str) -> str:
    """The built-in config that weights were made by; AdelaiDet's first one for those that do not tell."""
    import condinst

    name = condinst.load(weights).config.name
    recipe = name if name in condinst.config_names() else "condinst_r50_1x"
    logging.getLogger(__name__).info("recipe of %s; --config or --set choose another", recipe)
    return recipe


def _log_handler() -> logging.Handler:
    """Colours on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        return RichHandler(console=console, show_path=False)
    return logging.StreamHandler()
