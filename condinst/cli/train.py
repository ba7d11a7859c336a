"""`condinst train`."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from .app import Device, Images, Segments, app, choose_device

if TYPE_CHECKING:
    from condinst.data.coco import CocoInstances
    from condinst.data.panoptic import CocoPanoptic


@app.command("train")
def train_command(
    data: Annotated[
        Path, typer.Option(help="A COCO JSON, of instances or panoptic, a folder laid out as COCO, or Cityscapes.")
    ],
    images: Images = None,
    segments: Segments = None,
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
    validation_segments: Annotated[Path | None, typer.Option(help="Folder of its PNGs, as --segments.")] = None,
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
    """Train a model on instance masks, a panoptic one on panoptic data. Number and names of the classes come from it.

    The config says how in its table [training]; --set changes that. With torchrun in front, on several GPUs.
    """
    import torch

    import condinst
    from condinst.data.panoptic import CocoPanoptic
    from condinst.engine.config import load_training_config, parse_settings
    from condinst.engine.training import train
    from condinst.models.checkpoints import fine_tune, new_model

    for option, value in (("validation-images", validation_images), ("validation-segments", validation_segments)):
        if value is not None and validation_data is None:
            raise ValueError(f"{option}: expected --validation-data with it")
    if weights is not None and backbone is not None:
        raise ValueError("weights: expected --weights or --backbone, got both")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_log_handler()])
    for name in ("lightning_fabric", "condinst.backends", "faster_coco_eval"):
        logging.getLogger(name).setLevel(logging.WARNING)
    chosen_device = choose_device(device)
    if weights is not None and config is None:
        start = condinst.load(weights).config
        recipe = _recipe_of(start.name)
    else:
        recipe = config or "condinst_nano"
        start = condinst.load_config(recipe)
    training = load_training_config(recipe, settings or [])
    overrides: dict[str, Any] = parse_settings("--model", condinst.CondInstConfig, model_settings or [])
    panoptic = start.replace(**overrides).panoptic
    dataset = _open(panoptic, data, images, segments, "train")
    validation = None
    if validation_data is not None:
        validation = _open(panoptic, validation_data, validation_images, validation_segments, "val")
    if not dataset.category_ids:
        raise ValueError(f"{dataset.annotations}: expected at least one category of things to train on, got none")
    torch.manual_seed(training.seed)
    overrides |= {
        "num_classes": len(dataset.category_ids),
        "class_names": dataset.class_names,
        "category_ids": tuple(dataset.category_ids),
    }
    if panoptic and isinstance(dataset, CocoPanoptic):
        overrides |= {
            "num_stuff_classes": len(dataset.stuff_category_ids),
            "stuff_names": dataset.stuff_names,
            "stuff_category_ids": tuple(dataset.stuff_category_ids),
        }
    if weights is not None:
        model = fine_tune(weights, config, **overrides)
    else:
        model = new_model(condinst.load_config(recipe).replace(**overrides))
        if backbone is not None:
            condinst.load_backbone(model, backbone)
        elif model.config.backbone_norm == "FrozenBN" and not resume:
            warnings.warn(
                f"{recipe}: the backbone has random weights and frozen norms; expected --backbone or --weights",
                stacklevel=2,
            )
    from condinst.distributed import launched_rank

    try:
        result = train(model, training, dataset, out, validation=validation, device=chosen_device, resume=resume)
    except KeyboardInterrupt:
        saved = out / "last.pt"
        print(f"interrupted{f'; --resume goes on from {saved}' if saved.exists() else ''}", file=sys.stderr)
        raise typer.Exit(130) from None
    if launched_rank() == 0:
        print(f"weights in {result}")


def _open(
    panoptic: bool, data: Path, images: Path | None, segments: Path | None, split: str
) -> CocoInstances | CocoPanoptic:
    """Panoptic data for a panoptic model, and where there are segments: any other model learns the things of them."""
    from condinst.data.open import open_instances, open_panoptic

    if panoptic or segments is not None:
        return open_panoptic(data, images, segments, split)
    return open_instances(data, images, split)


def _recipe_of(name: str) -> str:
    """The built-in config that a model was made by; AdelaiDet's first one for those that do not tell."""
    import condinst

    recipe = name if name in condinst.config_names() else "condinst_r50_1x"
    logging.getLogger(__name__).info("recipe of %s; --config or --set choose another", recipe)
    return recipe


def _log_handler() -> logging.Handler:
    """Colours on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        return RichHandler(console=console, show_path=False)
    return logging.StreamHandler()
