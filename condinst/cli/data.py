"""`condinst data`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .app import Images, app

if TYPE_CHECKING:
    from condinst.data.check import DataReport
    from condinst.data.coco import CocoInstances

data_app = typer.Typer(help="Look at training data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.callback()
def _data() -> None:
    pass


@data_app.command("check")
def check_command(
    data: Annotated[Path, typer.Argument(help="A COCO instances JSON, or the folder of COCO or Cityscapes.")],
    images: Images = None,
    split: Annotated[str, typer.Option(help="Which part of a folder.")] = "train",
    out: Annotated[Path, typer.Option(help="Folder for pictures of samples with their masks.")] = Path("outputs/data"),
    samples: Annotated[int, typer.Option(min=0, help="Number of pictures.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Count what a data set holds, name what looks wrong, and draw some of its objects.

    The exit code is 1 when training would stop on something, or leave out whole images.
    """
    from condinst.data.check import check_instances
    from condinst.data.open import open_instances

    dataset = open_instances(data, images, split, progress=not as_json)
    report = check_instances(dataset, progress=not as_json)
    pictures = _draw_samples(dataset, out, samples)
    if as_json:
        findings = [{**dataclasses.asdict(f), "breaks_training": f.breaks_training} for f in report.findings]
        content = {**dataclasses.asdict(report), "findings": findings, "pictures": [str(path) for path in pictures]}
        print(json.dumps(content, indent=1))
    else:
        _print_report(report)
        if pictures:
            print(f"{len(pictures)} pictures in {out}")
    if report.breaks_training:
        raise typer.Exit(1)


def _draw_samples(data: CocoInstances, out: Path, count: int) -> list[Path]:
    """Draws the objects of images from all over the data. Returns the files."""
    from condinst.visualization import draw_predictions

    with_objects = [index for index, image_id in enumerate(data.image_ids) if data.coco.imgToAnns[image_id]]
    count = min(count, len(with_objects))
    files = []
    for number in range(count):
        index = with_objects[number * len(with_objects) // count]
        try:
            image, target = data[index]
        except (OSError, ValueError):
            continue  # the report names it
        picture = draw_predictions(image, target["boxes"], target["labels"], None, target["masks"], data.class_names)
        out.mkdir(parents=True, exist_ok=True)
        files.append(out / f"{number}_{data.image_path(index).stem}.png")
        picture.save(files[-1])
    return files


def _print_report(report: DataReport) -> None:
    console = Console()
    counts = Table("", "", show_header=False)
    counts.add_row("images", str(report.num_images))
    counts.add_row("without objects", str(report.num_images_without_objects))
    for name, (height, width) in report.image_sizes.items():
        counts.add_row(f"{name}, height x width", f"{height} x {width}")
    counts.add_row("objects", str(report.num_objects))
    counts.add_row("most in one image", str(report.most_objects))
    for name, number in report.object_sizes.items():
        counts.add_row(f"{name} ones", str(number))
    counts.add_row("crowd regions", str(report.num_crowds))
    console.print(counts)
    categories = Table("id", "category", "objects")
    for category in report.categories:
        categories.add_row(str(category["id"]), escape(category["name"]), str(category["objects"]))
    console.print(categories)
    for finding in report.findings:
        style = "red" if finding.breaks_training else "yellow"
        console.print(f"[{style}]{escape(finding.kind)}: {finding.count}[/]")
        for example in finding.examples:
            console.print(f"  {escape(example)}", highlight=False)
        if finding.count > len(finding.examples):
            console.print(f"  and {finding.count - len(finding.examples)} more")
    if not report.findings:
        console.print("nothing looks wrong")
