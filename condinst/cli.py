"""The command `condinst`.

Torch is imported inside the commands, so that `condinst predict --help` does not wait for more than it needs.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import time
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from condinst.benchmarking.mask_head import MaskHeadStudy
    from condinst.engine.training import TrainingConfig

app = typer.Typer(
    help="CondInst: instance segmentation by conditional convolutions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

benchmark_app = typer.Typer(help="Measure time and memory on this machine.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")

Weights = Annotated[str, typer.Option(help="Name of a built-in model, a .safetensors or an AdelaiDet .pth file.")]
Images = Annotated[Path | None, typer.Option(help="Folder of the images; by default that of the JSON file.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, mps ...")]


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits: 0 done, 1 an error (named on stderr), 2 wrong usage, 130 interrupted.

    Args:
        arguments: the words after `condinst`; those of the process by default.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app(args=arguments, prog_name="condinst")
    except Exception as error:
        if os.environ.get("CONDINST_DEBUG", "0") not in ("", "0"):
            raise
        expected = isinstance(error, (ValueError, OSError, FloatingPointError))
        hint = "" if expected else f" ({type(error).__name__}; CONDINST_DEBUG=1 shows where)"
        print(f"error: {error}{hint}", file=sys.stderr)
        raise SystemExit(1) from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        import condinst

        print(f"condinst {condinst.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("predict")
def predict_command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES_OR_FOLDERS...")],
    weights: Weights = "condinst_nano",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs"),
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Drop objects with a reported score at or below it.")
    ] = 0.5,
    device: Device = "auto",
) -> None:
    """Segment images: an overlay PNG for each, predictions.json (COCO results) and images.json for all.

    Of a folder, the images right inside it are taken.

    A file that cannot be read is named at the end; the others are processed, and the exit code is 1.
    """
    import condinst
    from condinst.data.images import list_images
    from condinst.engine.inference import predict_files

    paths = list_images(images)
    model = condinst.load(weights, device=_choose_device(device), score_threshold=score_threshold)
    try:
        summary = predict_files(model, paths, out)
    except KeyboardInterrupt:
        print(f"interrupted; what was finished is in {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    for path, reason in summary.failed:
        print(f"error: {path}: {reason}", file=sys.stderr)
    print(
        f"{summary.images} of {len(paths)} images, {summary.detections} objects,"
        f" {summary.seconds_per_image:.2f} s per image; results in {out}"
    )
    if summary.failed:
        raise typer.Exit(1)


@app.command("backends")
def backends_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show which backend can run which operator here, and why not."""
    from condinst.backends import backend_table

    rows = [dataclasses.asdict(row) for row in backend_table()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table()
    for column in ("op", "backend", "status", "reason"):
        table.add_column(column, no_wrap=column != "reason")
    before = None
    for row in rows:
        style = "green" if row["status"] == "available" else "dim"
        op = "" if row["op"] == before else row["op"]
        if op and before:
            table.add_section()
        table.add_row(op, row["backend"], f"[{style}]{row['status']}[/]", escape(row["reason"]))
        before = row["op"]
    Console().print(table)


@app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="An AdelaiDet checkpoint, or our own file.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store parameters in half precision.")] = False,
) -> None:
    """Convert a checkpoint to our safetensors format."""
    import condinst

    if target.suffix != ".safetensors":
        raise ValueError(f"target: expected a name ending in .safetensors, got {target}")
    if not source.is_file():
        raise ValueError(f"source: no such file: {source}")
    model = condinst.load(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    condinst.save_checkpoint(model, target, half=half)
    print(f"{target}: {model.config.name}, {model.config.backbone}, {model.config.num_classes} classes")


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
    chosen_device = _choose_device(device)
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


@app.command("evaluate")
def evaluate_command(
    data: Annotated[Path, typer.Option(help="COCO instances JSON.")],
    images: Images = None,
    weights: Weights = "condinst_nano",
    max_dets: Annotated[
        int | None, typer.Option(min=1, help="Objects per image that count; by default the model's own number.")
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compute the COCO average precision of boxes and masks."""
    import condinst
    from condinst.data.coco import CocoInstances
    from condinst.evaluation.coco import evaluate_coco, json_ready

    dataset = CocoInstances(data, images or data.parent)
    chosen_device = _choose_device(device)
    overrides: dict[str, Any] = {} if max_dets is None else {"max_detections": max_dets}
    model = condinst.load(weights, device=chosen_device, **overrides)
    if len(dataset.category_ids) != model.config.num_classes:
        raise ValueError(
            f"weights: expected a model of {len(dataset.category_ids)} classes, as many as {data} has,"
            f" got one of {model.config.num_classes}"
        )
    count = model.config.max_detections or 100
    start = time.monotonic()
    scores = evaluate_coco(model, dataset, max_detections=count, device=chosen_device, progress=not as_json)
    seconds = time.monotonic() - start
    if as_json:
        print(json.dumps(json_ready(scores), indent=1))
        return
    metrics = [name for name in scores["mask"] if name != "per_class"]
    table = Table("", *metrics)
    for kind, values in scores.items():
        table.add_row(kind, *(f"{100 * values[name]:.2f}" for name in metrics))
    Console().print(table)
    print(f"{len(dataset)} images, at most {count} objects each, {seconds / max(len(dataset), 1):.2f} s per image")


@benchmark_app.command("mask-head")
def benchmark_mask_head_command(
    instances: Annotated[str, typer.Option(help="Numbers of instances.", metavar="K,K,...")] = "1,10,100,300,1000",
    size: Annotated[str, typer.Option(help="Height and width of the mask features.", metavar="HxW")] = "100x136",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of PyTorch; by default its own choice.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Timings of each variant.")] = 9,
    compiled: Annotated[
        str, typer.Option("--compile", help="Numbers of instances for torch.compile: none, one (100), all.")
    ] = "one",
    plot: Annotated[Path | None, typer.Option(help="Draw time against instances: .png, .svg, .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Time the dynamic mask head on every backend, beside what others do.

    No variant is timed before it agrees with the reference. All take turns, so that their ratios can be trusted.
    """
    import torch

    from condinst.benchmarking.mask_head import measure_mask_head
    from condinst.benchmarking.plot import check_can_plot, save_plot

    if plot is not None:
        check_can_plot(plot)
    counts = _numbers("instances", instances, ",")
    height_width = _numbers("size", size, "x")
    if len(height_width) != 2:
        raise ValueError(f"size: expected HxW, got {size!r}")
    chosen_device = torch.device(_choose_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    with Console(stderr=True).status("") as status:
        result = measure_mask_head(
            chosen_device,
            instances=counts,
            size=(height_width[0], height_width[1]),
            rounds=rounds,
            compiled=compiled,
            progress=lambda step: status.update(escape(step)),
        )
    if plot is not None:
        save_plot([row for row in result.study.rows if row.study == "instances"], plot)
    if as_json:
        print(json.dumps(result.json_ready(), indent=1))
    else:
        _print_mask_head(result)


def _print_mask_head(result: MaskHeadStudy) -> None:
    from condinst.benchmarking.tables import mask_head_tables

    console, study = Console(), result.study
    for text in mask_head_tables(study.rows):
        table = Table(title=text.title, title_justify="left")
        for column in text.columns:
            table.add_column(column, justify="left" if column == text.columns[0] else "right")
        for cells in text.cells:
            table.add_row(*map(escape, cells))
        console.print(table)
    for left_out in study.not_measured:
        print(left_out)
    print(
        f"{study.about['device']}, torch {study.about['torch']}; chunks of {result.chunk_size} instances;"
        f" floor: {study.multiply_adds_per_second / 1e9:.0f} billion multiply-adds/s or writing the masks once"
    )


def _numbers(name: str, text: str, separator: str) -> tuple[int, ...]:
    """Whole numbers between separators."""
    try:
        return tuple(int(word) for word in text.split(separator))
    except ValueError:
        raise ValueError(f"{name}: expected whole numbers with {separator!r} between them, got {text!r}") from None


def _choose_device(name: str) -> str:
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


if __name__ == "__main__":
    main()
