"""`condinst predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .app import Device, MaxPixels, Weights, app, choose_device, limit_pixels


@app.command("predict")
def predict_command(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES_OR_FOLDERS...",
            help='Files, folders, and patterns such as "scans/**/*.tif".',
            readable=False,  # otherwise one file without permission would end the command
        ),
    ],
    weights: Weights = "condinst_nano",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs"),
    task: Annotated[
        Literal["instance", "panoptic"],
        typer.Option(help="panoptic: instances and stuff without overlaps; needs a model with a semantic branch."),
    ] = "instance",
    score_threshold: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Drop objects with a reported score at or below it. Panoptic segments have the model's own threshold.",
        ),
    ] = 0.5,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also take the images of the folders below.")] = False,
    max_pixels: MaxPixels = None,
    device: Device = "auto",
) -> None:
    """Segment images: an overlay PNG for each, predictions.json (COCO results) and images.json for all.

    With --task panoptic also panoptic.json, in COCO's panoptic format, and its PNGs in the folder panoptic.

    Of a folder, the images right inside it are taken; of a file with several frames, the first.

    A file that cannot be read is named at the end; the others are processed, and the exit code is 1. Only results of an
    earlier run are overwritten: pictures with a name that is taken get a number, and for other files --out is refused.
    """
    import condinst
    from condinst.data.image_files import list_images
    from condinst.engine.inference import predict_files
    from condinst.engine.inference_files import without_earlier_overlays

    limit_pixels(max_pixels)
    problems: list[tuple[Path, str]] = []
    paths = list_images(images, recursive=recursive, problems=problems)
    photos = without_earlier_overlays(paths, out)
    if len(photos) < len(paths):
        print(f"{len(paths) - len(photos)} overlays of an earlier run in {out} are left out", file=sys.stderr)
    paths = photos
    if not paths:
        path, reason = problems[0] if problems else (out, "no images but overlays of an earlier run")
        raise ValueError(f"{path}: {reason}")
    chosen_device = choose_device(device)
    model = condinst.load(weights, device=chosen_device)
    # The merge of instances and stuff has a threshold of its own and must not lose instances to a higher one.
    if task == "instance" or score_threshold < model.config.score_threshold:
        model = model.with_config(score_threshold=score_threshold)
    try:
        summary = predict_files(model, paths, out, task=task, score_threshold=score_threshold)
    except KeyboardInterrupt:
        print(f"interrupted; what was finished is in {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    for path, note in summary.notes:
        print(f"warning: {path}: {note}", file=sys.stderr)
    for path, reason in [*problems, *summary.failed]:
        print(f"error: {path}: {reason}", file=sys.stderr)
    segments = f" {summary.things} things and {summary.stuff} stuff segments," if task == "panoptic" else ""
    print(
        f"{summary.images} of {len(paths)} images, {summary.detections} objects,{segments}"
        f" {summary.seconds_per_image:.2f} s per image; results in {out}"
    )
    if problems or summary.failed:
        raise typer.Exit(1)
