"""Tables of the study of the mask head, the same for the terminal and for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .mask_head import PAPER_MS_PER_100
from .results import Row, three_digits, times_text

MISSING = "not measured"
FLOOR = "floor"
STATISTIC = "median"
GPU_STATISTIC = "median wall time / between events, cold L2 cache / in a CUDA graph"


@dataclass(frozen=True)
class TextTable:
    """A title, the names of the columns, and the cells."""

    title: str
    columns: list[str]
    cells: list[list[str]]

    def markdown(self) -> str:
        """The table in Markdown, under its title."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.cells]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def statistic(rows: Sequence[Row]) -> str:
    """A description of the times that `times_text` shows for these rows."""
    return STATISTIC if all(row.device_ms is None for row in rows) else GPU_STATISTIC


def instances_tables(rows: Sequence[Row]) -> list[TextTable]:
    """Time, ratio and memory of each variant by number of instances; `rows` are of one study with one operator."""
    counts = sorted({row.num_instances or 0 for row in rows})
    variants = list(dict.fromkeys(row.variant for row in rows))
    by_count = {(row.variant, row.num_instances): row for row in rows}
    floors = {row.num_instances: row.floor_ms for row in rows}
    columns = ["instances", *map(str, counts)]

    def cells(text: dict[tuple[str, int | None], str]) -> list[list[str]]:
        return [[variant, *(text.get((variant, count), MISSING) for count in counts)] for variant in variants]

    times = cells({key: f"{times_text(row)} ({_microseconds(row)})" for key, row in by_count.items()})
    times.append([FLOOR, *(f"{three_digits(floors[c])} ({three_digits(floors[c] * 1e3 / c)})" for c in counts)])
    ratios = cells({key: MISSING if row.ratio is None else f"{row.ratio:.1f}" for key, row in by_count.items()})
    memory = cells({key: memory_text(row) for key, row in by_count.items()})
    return [
        TextTable(f"Milliseconds a call, {statistic(rows)} (microseconds per instance)", columns, times),
        TextTable(f"Times as fast as the {rows[0].baseline}, in the same run", columns, ratios),
        TextTable("Extra peak memory in MiB: PyTorch's allocator / growth of the process", columns, memory),
    ]


def ablation_table(rows: Sequence[Row], study: str, title: str) -> TextTable:
    """Milliseconds for 100 instances by depth, width or factor, beside the figures of the paper, if it has any."""
    samples = list(dict.fromkeys(row.sample for row in rows))
    variants = list(dict.fromkeys(row.variant for row in rows))
    by_sample = {(row.variant, row.sample): row for row in rows}
    paper = PAPER_MS_PER_100.get(study, {})
    columns = [study, *(["the paper, on the authors' GPU"] if paper else []), *variants, FLOOR]
    cells = []
    for sample in samples:
        at_sample = [by_sample.get((variant, sample)) for variant in variants]
        line = [sample, *([str(paper.get(int(sample), ""))] if paper else [])]
        line += [MISSING if row is None else times_text(row, 100 / (row.num_instances or 100)) for row in at_sample]
        floor = next(row for row in rows if row.sample == sample)
        cells.append([*line, three_digits(floor.floor_ms * 100 / (floor.num_instances or 100))])
    return TextTable(f"{title}, {statistic(rows)}", columns, cells)


def mask_head_tables(rows: Sequence[Row]) -> list[TextTable]:
    """All tables of a run of `measure_mask_head`, of the studies that have rows."""
    titles = {
        "depth": "Table 1a: milliseconds for 100 instances by depth, at width 8",
        "width": "Table 1b: milliseconds for 100 instances by width, at depth 3",
        "factor": "Table 5: milliseconds for 100 instances by upsampling factor",
    }
    by_study = {study: [row for row in rows if row.study == study] for study in ("instances", *titles)}
    tables = instances_tables(by_study["instances"]) if by_study["instances"] else []
    for study, title in titles.items():
        if by_study[study]:
            tables.append(ablation_table(by_study[study], study, title))
    return tables


def _microseconds(row: Row) -> str:
    return three_digits(1e3 * (row.ms_per_instance or 0))


def memory_text(row: Row) -> str:
    """MiB by PyTorch's allocators, and by the operating system."""
    resident = "-" if row.resident_mib is None else three_digits(row.resident_mib)
    return f"{three_digits(row.peak_mib)} / {resident}"
