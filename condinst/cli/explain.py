"""`condinst explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Device, Weights, app, choose_device


@app.command("explain")
def explain_command(
    image: Annotated[Path, typer.Argument(help="The image.")],
    instance: Annotated[int, typer.Option(min=0, help="Rank of the object by score; 0 is the best.")] = 0,
    weights: Weights = "condinst_nano",
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("outputs"),
    device: Device = "auto",
) -> None:
    """Draw what the mask head of one object makes of coordinates only, features only and both, and its layers."""
    import condinst
    from condinst.models.explanations import INPUTS, explain_instance
    from condinst.visualization import draw_explanation

    found = explain_instance(condinst.load(weights, device=choose_device(device)), image, instance)
    last = len(found.activations) - 1
    layers = [
        (f"layer {index + 1}" + (", logits" if index == last else ", after ReLU"), layer)
        for index, layer in enumerate(found.activations)
    ]
    title = f"{found.class_name} {found.score:.2f}, object {instance} of 0..{found.num_instances - 1} in {image.name}"
    sheet = draw_explanation(
        found.image,
        title,
        found.box,
        found.location,
        [
            (name if name == "both" else f"{name} only", logits)
            for name, logits in zip(INPUTS, found.logits, strict=True)
        ],
        found.mask_stride,
        [("coordinates (x, y)", found.inputs[:2]), ("mask features", found.inputs[2:]), *layers],
        found.feature_stride,
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{image.stem}_object{instance}.png"
    sheet.save(path)
    print(f"{path}: {title}")
