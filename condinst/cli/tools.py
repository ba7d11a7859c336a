"""`condinst backends` and `condinst convert`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .app import app, make_console


@app.command("backends")
def backends_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show which backend can run which operator here, and why not."""
    import condinst.ops  # noqa: F401  (registers the operators)
    from condinst.backends import backend_table

    rows = [dataclasses.asdict(row) for row in backend_table()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(caption="available: the backend loads, has a device, and starts there. No kernel was launched.")
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
    make_console().print(table)


@app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="A checkpoint of AdelaiDet or MMDetection, or our own file.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store parameters in half precision.")] = False,
) -> None:
    """Convert a checkpoint to our safetensors format. A file that is there is not replaced."""
    import condinst

    if target.suffix != ".safetensors":
        raise ValueError(f"target: expected a name ending in .safetensors, got {target}")
    if not source.is_file():
        raise ValueError(f"source: no such file: {source}")
    if os.path.lexists(target):
        raise FileExistsError(f"target: expected a new file, got {target}, which is there; choose another name")
    model = condinst.load(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    condinst.save_checkpoint(model, target, half=half)
    print(f"{target}: {model.config.name}, {model.config.backbone}, {model.config.num_classes} classes")
