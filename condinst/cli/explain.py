"""`condinst explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Device, Weights, app, choose_device

_SOFTWARE = "condinst explain"
"""What the text "Software" of the PNG files says, by which they are known again."""


@app.command("explain")
def explain_command(
    image: Annotated[Path, typer.Argument(help="The image.")],
    instance: Annotated[int, typer.Option(min=0, help="Rank of the object by score; 0 is the best.")] = 0,
    weights: Weights = "condinst_nano",
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = Path("outputs"),
    device: Device = "auto",
) -> None:
    """Draw what the mask head of one object makes of coordinates only, features only and both, and its layers."""
    from PIL.PngImagePlugin import PngInfo

    import condinst
    from condinst.files import check_replaceable
    from condinst.models.explanations import INPUTS, explain_instance
    from condinst.visualization import draw_explanation

    path = out / f"{image.stem}_object{instance}.png"
    check_replaceable(path, ours=_is_explanation(path), inputs=[image])
    explanation = explain_instance(condinst.load(weights, device=choose_device(device)), image, instance)
    last = len(explanation.activations) - 1
    layers = [
        (f"layer {index + 1}" + (", logits" if index == last else ", after ReLU"), layer)
        for index, layer in enumerate(explanation.activations)
    ]
    name = f"{explanation.class_name} {explanation.score:.2f}"
    title = f"{name}, object {instance} of 0..{explanation.num_instances - 1} in {image.name}"
    sheet = draw_explanation(
        explanation.image,
        title,
        explanation.box,
        explanation.location,
        [
            (name if name == "both" else f"{name} only", logits)
            for name, logits in zip(INPUTS, explanation.logits, strict=True)
        ],
        explanation.mask_stride,
        [("coordinates (x, y)", explanation.inputs[:2]), ("mask features", explanation.inputs[2:]), *layers],
        explanation.feature_stride,
    )
    out.mkdir(parents=True, exist_ok=True)
    about = PngInfo()
    about.add_text("Software", _SOFTWARE)
    sheet.save(path, pnginfo=about)
    print(f"{path}: {title}")


def _is_explanation(path: Path) -> bool:
    """Whether a file is a picture that this command has drawn."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, Image.DecompressionBombError):
        return False
