"""`condinst train`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from .app import Device, Images, Segments, app, choose_device


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
    from condinst.distributed import launched_rank
    from condinst.engine.config import TrainingConfig, parse_settings
    from condinst.engine.start import DataPaths, make_trainer
    from condinst.models.config import CondInstConfig

    for option, value in (("validation-images", validation_images), ("validation-segments", validation_segments)):
        if value is not None and validation_data is None:
            raise ValueError(f"{option}: expected --validation-data with it")
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_log_handler()])
    for name in ("lightning_fabric", "condinst.backends", "faster_coco_eval"):
        logging.getLogger(name).setLevel(logging.WARNING)
    validation = None
    if validation_data is not None:
        validation = DataPaths(validation_data, validation_images, validation_segments)
    try:
        trainer = make_trainer(
            DataPaths(data, images, segments),
            out,
            config=config,
            weights=weights,
            backbone=backbone,
            validation=validation,
            training_overrides=parse_settings("--set", TrainingConfig, settings or []),
            model_overrides=parse_settings("--model", CondInstConfig, model_settings or []),
            device=choose_device(device),
            resume=resume,
        )
        result = trainer.run()
    except KeyboardInterrupt:
        saved = out / "last.pt"
        print(f"interrupted{f'; --resume goes on from {saved}' if saved.exists() else ''}", file=sys.stderr)
        raise typer.Exit(130) from None
    if launched_rank() == 0:
        print(f"weights in {result}")


def _log_handler() -> logging.Handler:
    """Colours on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        return RichHandler(console=console, show_path=False)
    return logging.StreamHandler()
