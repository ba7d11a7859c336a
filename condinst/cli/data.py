"""`condinst data`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .app import Images, Segments, app, make_console

if TYPE_CHECKING:
    from condinst.data.check import DataReport
    from condinst.data.check_panoptic import PanopticReport
    from condinst.data.findings import Finding

_EFFECTS = {"left out": " (left out)", "repaired": " (read all the same)"}
"""What the report says of the effect of a finding."""

data_app = typer.Typer(help="Look at training data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.callback()
def _data() -> None:
    pass


@data_app.command("check")
def check_command(
    data: Annotated[
        Path, typer.Argument(help="A COCO JSON of instances or panoptic, or the folder of COCO or Cityscapes.")
    ],
    images: Images = None,
    segments: Segments = None,
    task: Annotated[
        str | None,
        typer.Option(help="instance or panoptic; by default what a JSON file is, and of a folder its instances."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of a folder.")] = "train",
    out: Annotated[Path, typer.Option(help="Folder for pictures of samples with their masks.")] = Path("outputs/data"),
    samples: Annotated[int, typer.Option(min=0, help="Number of pictures.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Count what a data set holds, name what looks wrong, and draw some of its objects.

    The exit code is 1 when `condinst train` would refuse the data. The report comes before the pictures are drawn, and
    no file is overwritten but pictures of an earlier check.
    """
    from condinst.data.check import check_instances
    from condinst.data.check_panoptic import check_panoptic
    from condinst.data.open import open_annotated
    from condinst.data.panoptic import CocoPanoptic
    from condinst.visualization.samples import SamplePictures

    dataset = open_annotated(data, images, segments, split, task=task, progress=not as_json)
    report: DataReport | PanopticReport
    if isinstance(dataset, CocoPanoptic):
        report = check_panoptic(dataset, progress=not as_json)
    else:
        report = check_instances(dataset, progress=not as_json)
    pictures = SamplePictures(dataset, out, samples)
    if as_json:
        findings = [{**dataclasses.asdict(f), "breaks_training": f.breaks_training} for f in report.findings]
        content = {
            **dataclasses.asdict(report),
            "findings": findings,
            "pictures": [str(path) for path in pictures.paths],
        }
        print(json.dumps(content, indent=1))
    else:
        console = make_console()
        _print_counts(console, report)
        _print_findings(console, report.findings)
    problems = pictures.draw()
    if pictures.paths and not as_json:
        print(f"{len(pictures.paths) - len(problems)} pictures in {out}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if report.breaks_training:
        raise typer.Exit(1)


def _print_counts(console: Console, report: DataReport | PanopticReport) -> None:
    from condinst.data.check_panoptic import PanopticReport

    sizes = {f"{name}, height x width": f"{size[0]} x {size[1]}" for name, size in report.image_sizes.items()}
    rows, categories = _panoptic_counts(report) if isinstance(report, PanopticReport) else _instance_counts(report)
    counts = Table("", "", show_header=False)
    for name, value in {"images": report.num_images, **sizes, **rows}.items():
        counts.add_row(name, str(value))
    console.print(counts)
    console.print(categories)


def _instance_counts(report: DataReport) -> tuple[dict[str, Any], Table]:
    """Counts and the table of categories."""
    rows = {
        "images without objects": report.num_images_without_objects,
        "objects": report.num_objects,
        "that can be used": report.num_usable,
        "most in one image": report.most_objects,
        **{f"{name} ones": number for name, number in report.object_sizes.items()},
        "crowd regions": report.num_crowds,
    }
    categories = Table("id", "category", "objects")
    for category in report.categories:
        categories.add_row(str(category["id"]), escape(category["name"]), str(category["objects"]))
    return rows, categories


def _panoptic_counts(report: PanopticReport) -> tuple[dict[str, Any], Table]:
    """Counts and the table of categories."""
    rows = {
        "things": report.num_things,
        "most in one image": report.most_things,
        "crowd regions": report.num_crowds,
        "segments of stuff": report.num_stuff,
        "void pixels": f"{report.void_share:.2%}",
    }
    categories = Table("id", "category", "", "segments", "pixels")
    for category in report.categories:
        kind = "thing" if category["isthing"] else "stuff"
        categories.add_row(
            str(category["id"]), escape(category["name"]), kind, str(category["segments"]), f"{category['share']:.2%}"
        )
    return rows, categories


def _print_findings(console: Console, findings: list[Finding]) -> None:
    for finding in findings:
        style = "red" if finding.effect in ("refused", "left out") else "yellow"
        effect = _EFFECTS.get(finding.effect, "")
        console.print(f"[{style}]{escape(finding.kind)}: {finding.count}[/]{effect}")
        for example in finding.examples:
            console.print(f"  {escape(example)}", highlight=False)
        if finding.count > len(finding.examples):
            console.print(f"  and {finding.count - len(finding.examples)} more")
    if not findings:
        console.print("nothing looks wrong")
