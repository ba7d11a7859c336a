"""The command itself, and what its parts share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="CondInst: instance and panoptic segmentation by conditional convolutions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Weights = Annotated[
    str, typer.Option(help="Name of a built-in model, a .safetensors, or a .pth of AdelaiDet or MMDetection.")
]
Images = Annotated[Path | None, typer.Option(help="Folder of the images; by default that of the JSON file.")]
Segments = Annotated[
    Path | None, typer.Option(help="Folder of panoptic PNGs; by default the one with the name of the JSON file.")
]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps ...")]
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Read pictures of up to so many pixels, in place of CONDINST_MAX_PIXELS."),
]


def limit_pixels(count: int | None) -> None:
    """Sets the most pixels of a picture, for this process and its workers.

    Raises:
        ValueError: a number that no picture can have.
    """
    if count is not None:
        from condinst.data.images import max_pixels

        os.environ["CONDINST_MAX_PIXELS"] = str(count)
        max_pixels()


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints names as they are: without emoji in place of ":car:"."""
    return Console(stderr=stderr, emoji=False)


def choose_device(name: str) -> str:
    """A device that works here.

    Raises:
        ValueError: an unknown device, or one that this machine or this torch does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: expected auto, cpu or a GPU of this machine, got {name!r}: {reason}") from error
    return name
