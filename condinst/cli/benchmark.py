"""`condinst benchmark`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .app import Device, app, choose_device

if TYPE_CHECKING:
    from condinst.benchmarking.mask_head import MaskHeadStudy
    from condinst.benchmarking.tables import TextTable

benchmark_app = typer.Typer(help="Measure time and memory on this machine.", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark")


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

    from condinst.benchmarking.mask_head import mask_head_points, measure_mask_head
    from condinst.benchmarking.plot import check_can_plot, save_plot

    if plot is not None:
        check_can_plot(plot)
    points = mask_head_points(_numbers("instances", instances, ","), _height_width(size), compiled)
    chosen_device = torch.device(choose_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    with Console(stderr=True).status("") as status:
        result = measure_mask_head(
            chosen_device,
            points,
            rounds=rounds,
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

    study = result.study
    for text in mask_head_tables(study.rows):
        _print_table(text)
    for left_out in study.not_measured:
        print(left_out)
    print(
        f"{study.about['device']}, torch {study.about['torch']}; chunks of {result.chunk_size} instances;"
        f" floor: {study.multiply_adds_per_second / 1e9:.0f} billion multiply-adds/s or writing the masks once"
    )


def _print_table(text: TextTable) -> None:
    table = Table(title=text.title, title_justify="left")
    for index, column in enumerate(text.columns):
        table.add_column(column, justify="right" if index else "left")
    for cells in text.cells:
        table.add_row(*map(escape, cells))
    Console().print(table)


def _height_width(size: str) -> tuple[int, int]:
    """The two numbers of HxW."""
    numbers = _numbers("size", size, "x")
    if len(numbers) != 2:
        raise ValueError(f"size: expected HxW, got {size!r}")
    return numbers[0], numbers[1]


def _numbers(name: str, text: str, separator: str) -> tuple[int, ...]:
    """Whole numbers between separators."""
    try:
        return tuple(int(word) for word in text.split(separator))
    except ValueError:
        raise ValueError(f"{name}: expected whole numbers with {separator!r} between them, got {text!r}") from None
