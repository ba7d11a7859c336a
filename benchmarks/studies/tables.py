"""Tables of one operator, or of what stands for one, for the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from condinst.benchmarking.results import Row, three_digits, times_text
from condinst.benchmarking.tables import FLOOR, MISSING, TextTable, memory_text, statistic


def operator_table(rows: Sequence[Row]) -> TextTable:
    """Milliseconds of each variant of one operator and how many times as fast as the baseline, by setting."""
    settings = list(dict.fromkeys((row.sample, row.dtype, row.direction) for row in rows))
    variants = list(dict.fromkeys(row.variant for row in rows))
    found = {(row.variant, row.sample, row.dtype, row.direction): row for row in rows}

    def cell(row: Row | None) -> str:
        if row is None:
            return MISSING
        return times_text(row) if row.ratio is None else f"{times_text(row)} ({row.ratio:.1f}x)"

    cells = [[variant, *(cell(found.get((variant, *setting))) for setting in settings)] for variant in variants]
    floors = {(row.sample, row.dtype, row.direction): row.floor_ms for row in rows}
    cells.append([FLOOR, *(three_digits(floors[setting]) for setting in settings)])
    title = (
        f"`{rows[0].op}`: milliseconds a call, {statistic(rows)} (times as fast as the {rows[0].baseline}, in the same"
        " run)"
    )
    return TextTable(title, [rows[0].op, *(", ".join(setting) for setting in settings)], cells)


def samples_table(rows: Sequence[Row]) -> TextTable:
    """Time, ratio and memory of each variant of one operator, or of what stands for one, by sample."""
    samples = list(dict.fromkeys(row.sample for row in rows))
    variants = list(dict.fromkeys(row.variant for row in rows))
    found = {(row.variant, row.sample): row for row in rows}

    def cell(row: Row | None) -> str:
        return MISSING if row is None else f"{times_text(row)} ({row.ratio:.1f}x); {memory_text(row)}"

    cells = [[variant, *(cell(found.get((variant, sample))) for sample in samples)] for variant in variants]
    title = (
        f"`{rows[0].op}`: milliseconds a call, {statistic(rows)} (times as fast as {rows[0].baseline}, in the same"
        " run); extra peak memory in MiB, PyTorch's allocator / growth of the process"
    )
    return TextTable(title, [rows[0].op, *samples], cells)
