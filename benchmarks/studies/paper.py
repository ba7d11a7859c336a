"""The models of the paper's tables 1 to 6, 8, 10 and 11, with random weights: size and time beside the authors'."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from condinst.benchmarking.machine import about
from condinst.benchmarking.mask_head import PAPER_MS_PER_100
from condinst.benchmarking.study import Progress
from condinst.benchmarking.tables import MISSING, TextTable
from condinst.benchmarking.timing import clock_for, take_turns
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig
from condinst.models.config_files import config_names, load_config
from studies.whole_model import (
    NUM_INSTANCES,
    input_size,
    mask_head_call,
    num_parameters,
    padded_size,
    whole_model_call,
)

BASE = "condinst_r50_1x"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
PANOPTIC_METRICS = ("PQ", "PQ_things", "PQ_stuff")
PUBLISHED_MS = 49.0
"""The authors' milliseconds of ResNet-50 with FPN for an image, on one V100 (section 4.7)."""

SECONDS_AT_MOST = 120.0
"""After that time no new round of whole models begins."""


@dataclass(frozen=True)
class PaperRow:
    """A model of a table.

    Attributes:
        name: what the row varies.
        config: name of the built-in config that it starts from.
        overrides: fields of `CondInstConfig` over those of `config`.
        accuracy: average precision of masks, or panoptic quality, in percent as the authors give it, by name; on
            val2017, in Tables 8 and 10 on test-dev, in Table 11 on the validation images of Cityscapes.
        head_ms: the authors' milliseconds of the mask head for 100 instances, on their GPU.
        image_ms: the authors' milliseconds of the whole model for an image, on one V100.
    """

    name: str
    config: str
    overrides: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    head_ms: float | None = None
    image_ms: float | None = None


def _row(name: str, figures: str, overrides: dict[str, Any], *, config: str = BASE, **times: float | None) -> PaperRow:
    """A row with the figures in the order of `METRICS`; that of the published model has its time, too."""
    precision = dict(zip(METRICS, map(float, figures.split()), strict=False))
    if config == BASE and all(getattr(CondInstConfig(), name) == value for name, value in overrides.items()):
        times["image_ms"] = PUBLISHED_MS
    return PaperRow(name, config, overrides, precision, **times)


def _panoptic(name: str, config: str, figures: str) -> PaperRow:
    return PaperRow(name, config, accuracy=dict(zip(PANOPTIC_METRICS, map(float, figures.split()), strict=True)))


def _depth(depth: int, figures: str) -> PaperRow:
    time = PAPER_MS_PER_100["depth"][depth]
    return _row(f"depth {depth}", figures, {"mask_head_layers": depth}, head_ms=time)


def _width(width: int, figures: str) -> PaperRow:
    time = PAPER_MS_PER_100["width"][width]
    return _row(f"width {width}", figures, {"mask_head_channels": width}, head_ms=time)


def _bottom(channels: int, figures: str) -> PaperRow:
    return _row(f"C_bottom {channels}", figures, {"mask_feature_channels": channels})


PAPER_TABLES: dict[int, tuple[str, tuple[PaperRow, ...]]] = {
    1: (
        "Table 1: depth (at width 8) and width (at depth 3) of the mask head",
        (
            _depth(1, "30.5 52.7 30.7 13.7 32.8 44.9"),
            _depth(2, "35.5 56.2 37.9 17.1 38.8 51.2"),
            _depth(3, "35.6 56.4 37.9 18.0 38.9 50.8"),
            _depth(4, "35.6 56.3 37.8 17.3 38.9 51.0"),
            _width(2, "33.9 55.3 35.8 15.8 37.0 48.6"),
            _width(4, "35.4 56.3 37.4 16.9 38.7 51.2"),
            _width(8, "35.6 56.4 37.9 18.0 39.1 50.8"),
            _width(16, "35.7 56.1 38.1 16.9 39.0 50.8"),
        ),
    ),
    2: (
        "Table 2: channels of the mask features",
        (
            _bottom(1, "34.7 56.0 36.8 16.5 37.9 50.1"),
            _bottom(2, "34.9 55.7 37.2 16.5 38.3 50.6"),
            _bottom(4, "35.5 56.3 37.5 17.8 38.7 50.7"),
            _bottom(8, "35.6 56.4 37.9 18.0 39.1 50.8"),
            _bottom(16, "35.4 56.0 37.5 16.9 38.7 50.9"),
        ),
    ),
    3: (
        "Table 3: what the mask head is given: coordinates, and the mask features F_bottom",
        (
            _row("F_bottom alone", "31.5 53.5 32.0 14.8 34.6 44.8", {"mask_head_coordinates": "none"}),
            _row("relative alone", "31.3 55.0 31.9 15.6 34.1 44.3", {"mask_head_features": False}),
            _row("absolute, F_bottom", "32.0 53.4 32.7 14.6 34.1 47.0", {"mask_head_coordinates": "absolute"}),
            _row("relative, F_bottom", "35.6 56.4 37.9 18.0 39.1 50.8", {}),
        ),
    ),
    4: (
        "Table 4: the finest level of the mask branch (the paper: P2 takes about 20 % more time)",
        (
            _row("P3", "35.6 56.4 37.9 18.0 39.1 50.8", {}),
            _row("P2", "36.0 56.6 38.4 17.6 38.9 51.7", {}, config="condinst_r50_1x_p2"),
        ),
    ),
    5: (
        "Table 5: the factor by which mask logits are upsampled, from 1/8 of the image",
        (
            _row("factor 1", "34.6 55.6 36.4 15.6 38.7 51.7", {"mask_output_stride": 8}),
            _row("factor 2", "35.6 56.4 37.9 18.0 39.1 50.8", {"mask_output_stride": 4}),
            _row("factor 4", "35.6 56.2 37.7 16.9 38.8 50.8", {"mask_output_stride": 2}),
        ),
    ),
    6: (
        "Table 6: what suppression compares (the paper: masks often take more than twice the time)",
        (
            _row("boxes", "35.6 56.4 37.9 18.0 39.1 50.8", {"nms": "box"}),
            _row("masks", "35.6 56.5 37.7 18.0 39.1 50.7", {"nms": "mask"}),
        ),
    ),
    8: (
        "Table 8: CondInst-RT",
        (
            _row("R-50, shared towers", "36.0 57.0 38.0", {}, config="condinst_rt_r50_shared", image_ms=1000 / 43),
            _row("DLA-34, shared towers", "35.8 56.5 38.0", {}, config="condinst_rt_dla34_shared", image_ms=1000 / 47),
            _row("DLA-34", "36.3 57.3 38.5", {}, config="condinst_rt_dla34", image_ms=1000 / 41),
        ),
    ),
    10: (
        "Table 10: panoptic segmentation on COCO",
        (
            _panoptic("R-50-FPN, 1x", "condinst_r50_1x_panoptic", "42.1 50.4 29.7"),
            _panoptic("R-50-FPN, 3x", "condinst_r50_3x_panoptic", "44.6 53.0 31.8"),
            _panoptic("R-101-FPN, 3x", "condinst_r101_3x_panoptic", "46.1 54.7 33.2"),
            _panoptic("DCN-101-FPN, 3x", "condinst_r101_dcn_3x_panoptic", "47.8 55.8 35.8"),
        ),
    ),
    11: (
        "Table 11: panoptic segmentation on Cityscapes",
        (_panoptic("R-50-FPN", "condinst_r50_cityscapes_panoptic", "61.7 59.0 63.7"),),
    ),
}
"""Title and rows of each table that varies the model, as printed; of others' models there are none."""


@dataclass(frozen=True)
class MeasuredRow:
    """A row of the paper and what was found of it here.

    Attributes:
        row: of the paper.
        missing: why nothing was measured, or None.
        size: height and width of the padded network input.
        parameters: of the model.
        numbers_per_instance: that the controller gives for each location: the filters of one mask head.
        head_ms: milliseconds of the mask head and its sigmoid for 100 instances, median.
        image_ms: milliseconds of an image that has 100 instances, up to their run lengths and, of a panoptic model, the
            map of segments, median.
    """

    row: PaperRow
    missing: str | None = None
    size: tuple[int, int] | None = None
    parameters: int | None = None
    numbers_per_instance: int | None = None
    head_ms: float | None = None
    image_ms: float | None = None


@dataclass(frozen=True)
class MeasuredTable:
    """What `measure_table` found, and on which machine."""

    number: int
    about: dict[str, str | int]
    rows: list[MeasuredRow]

    def json_ready(self) -> dict[str, Any]:
        """Everything that was found, in dictionaries and lists."""
        title = PAPER_TABLES[self.number][0]
        rows = [asdict(row) for row in self.rows]
        return {"table": self.number, "title": title, "about": self.about, "rows": rows}

    def text(self) -> TextTable:
        """The table for the terminal."""
        title, rows = PAPER_TABLES[self.number]
        accuracy = "paper's PQ" if "PQ" in rows[0].accuracy else "paper's mask AP"
        columns = ["", "parameters", "per instance", "head, ms", "paper", "image, ms", "paper", accuracy]
        return TextTable(title, columns, [_cells(row) for row in self.rows])


def _cells(measured: MeasuredRow) -> list[str]:
    row = measured.row
    accuracy = f"{next(iter(row.accuracy.values())):.1f}"
    if measured.missing is not None:
        return [
            row.name,
            measured.missing,
            "",
            "",
            _milliseconds(row.head_ms),
            "",
            _milliseconds(row.image_ms),
            accuracy,
        ]
    assert measured.parameters is not None
    return [
        row.name,
        f"{measured.parameters / 1e6:.2f} M",
        str(measured.numbers_per_instance),
        _milliseconds(measured.head_ms, MISSING),
        _milliseconds(row.head_ms),
        _milliseconds(measured.image_ms, MISSING),
        _milliseconds(row.image_ms),
        accuracy,
    ]


def _milliseconds(value: float | None, otherwise: str = "-") -> str:
    if value is None:
        return otherwise
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def paper_rows(number: int) -> tuple[PaperRow, ...]:
    """The rows of one of the paper's tables.

    Raises:
        ValueError: no such table.
    """
    if number not in PAPER_TABLES:
        raise ValueError(f"table: expected one of {', '.join(map(str, PAPER_TABLES))}; got {number}")
    return PAPER_TABLES[number][1]


def row_config(row: PaperRow) -> CondInstConfig | None:
    """The config of a row; None where the built-in one that it starts from is missing."""
    if row.config not in config_names():
        return None
    return load_config(row.config).replace(**row.overrides)


def measure_table(
    number: int,
    device: torch.device,
    *,
    rows: Sequence[PaperRow] | None = None,
    size: tuple[int, int] | None = None,
    rounds: int = 5,
    progress: Progress = lambda _: None,
) -> MeasuredTable:
    """Build all models of a table, then time their mask heads in turns, and the models themselves in turns.

    The models have random weights. What they find would be chance, so that detections are planted: each finds 100
    instances among 1000 candidates (`whole_model_call`), and these pass through all stages up to their run lengths.

    Args:
        number: of the paper's table.
        device: where to compute.
        rows: some of the table's rows; by default all.
        size: height and width of the image; by default what the config makes of an image of 480 x 640.
        rounds: timings of each model, and a third of those of its mask head. After two minutes no new round of
            models begins.
        progress: called with what is done next.

    Raises:
        ValueError: no such table, an option out of range, or a model that does not find 100 instances.
    """
    rows = paper_rows(number) if rows is None else rows
    if size is not None and min(size) < 1:
        raise ValueError(f"size: expected height and width of at least 1, got {size[0]}x{size[1]}")
    if rounds < 2:
        raise ValueError(f"rounds: expected at least 2, got {rounds}")
    models: dict[str, CondInst] = {}
    heads: dict[str, Callable[[], Tensor]] = {}
    images: dict[str, Callable[[], list[dict[str, Any]]]] = {}
    for row in rows:
        config = row_config(row)
        if config is None:
            continue
        progress(f"{row.name}: first call and check")
        model = CondInst(config).to(device).eval()
        image_size = size or input_size(config)
        models[row.name] = model
        heads[row.name] = mask_head_call(model, image_size)
        images[row.name] = whole_model_call(model, image_size)
        heads[row.name]()
        (found,) = images[row.name]()
        if len(found["rles"]) != NUM_INSTANCES:
            raise ValueError(f"not timed: {row.name}: expected {NUM_INSTANCES} instances, got {len(found['rles'])}")
    progress("mask heads")
    clock = clock_for(device)
    head_times = take_turns(heads, clock, 3 * rounds)
    progress("whole models")
    image_times = take_turns(images, clock, rounds, SECONDS_AT_MOST)
    measured = []
    for row in rows:
        if row.name not in models:
            measured.append(MeasuredRow(row, missing=f"config {row.config} is missing"))
            continue
        model = models[row.name]
        measured.append(
            MeasuredRow(
                row,
                size=padded_size(model.config, size or input_size(model.config)),
                parameters=num_parameters(model),
                numbers_per_instance=model.config.num_mask_head_params,
                head_ms=round(1e3 * statistics.median(head_times[row.name].wall), 4),
                image_ms=round(1e3 * statistics.median(image_times[row.name].wall), 3),
            )
        )
    return MeasuredTable(number, about(device), measured)
