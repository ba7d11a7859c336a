"""The CSV file of a machine: rows of results that stay."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from condinst.benchmarking.results import Row
from condinst.files import atomic_write


def append_rows(rows: list[Row], folder: Path) -> Path:
    """Add rows to the file of the machine they come from, and return it.

    The name of the file is that of the device, which says the instruction set of a CPU and the number of threads. Rows
    of an older version that lack columns stay, with these columns empty.

    Raises:
        ValueError: rows of several devices, or the file there has other columns or rows of another device.
    """
    machine = re.sub(r"[^a-z0-9]+", "-", rows[0].device.lower()).strip("-")
    path = folder / f"{machine}.csv"
    before = read_rows(path) if path.exists() else []
    devices = {row.device for row in [*before, *rows]}
    if len(devices) > 1:
        raise ValueError(f"{path}: expected rows of one device, got those of {'; '.join(sorted(devices))}")
    folder.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Row)]
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in before + rows)
    return path


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in its order. What a column of an older file lacks has its default.

    Raises:
        ValueError: the file lacks columns without a default, or has unknown ones.
    """
    readers = {"int": int, "int | None": int, "float": float, "float | None": float}
    numbers = {field.name: readers[str(field.type)] for field in fields(Row) if str(field.type) in readers}
    names = [field.name for field in fields(Row)]
    required = {field.name for field in fields(Row) if field.default is MISSING}
    with path.open(newline="") as file:
        lines = csv.DictReader(file)
        columns = lines.fieldnames or []
        if not required <= set(columns) <= set(names):
            raise ValueError(f"{path}: expected the columns {', '.join(names)}; got {', '.join(columns)}")
        return [Row(**{name: _value(text, numbers.get(name)) for name, text in line.items()}) for line in lines]


def _value(text: str, number: type[int] | type[float] | None) -> Any:
    if number is None:
        return text
    return number(text) if text else None


def latest(rows: Iterable[Row], op: str, study: str) -> list[Row]:
    """The rows of a study's last run."""
    found = [row for row in rows if (row.op, row.study) == (op, study)]
    return [row for row in found if row.date == found[-1].date]
