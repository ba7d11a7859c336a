"""Writes docs/measurements.md, the summary of all measurements: ``python benchmarks/report_measurements.py``.

Times come from the CSV file of a CPU in ``results/`` and scores from ``docs/logs/``. `report_gpu.py` writes the numbers
of GPUs that the page quotes. Its other figures come from no committed file; each has the command that gives it.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condinst.benchmarking.results import Row, three_digits
from condinst.benchmarking.tables import TextTable
from studies.pages import Part, block_part
from studies.program import RESULTS, ROOT, Program, make_report_parser
from studies.rows import latest, read_rows
from studies.tables import operator_table

PAGE = "docs/measurements.md"
ROWS = RESULTS / "amd-epyc-2-threads.csv"
LOGS = ROOT / "docs/logs"


@dataclass(frozen=True)
class Comparison:
    """Two variants that were measured in one run.

    Args:
        title: what was measured, for readers.
        op, study, sample, direction: the rows in the CSV file.
        other: the variant to compare with.
        other_title: its name for readers.
        ours: our variant.
    """

    title: str
    op: str
    study: str
    sample: str
    other: str
    other_title: str
    direction: str = "forward"
    ours: str = "cpp"


HEAD = ("mask head, 100 instances on 100 x 136 features, with sigmoid", "dynamic_mask_head", "instances")
FOCAL = ("focal loss, forward and backward, 36,268 x 80", "sigmoid_focal_loss", "operator", "36268x80")
POST_PROCESSING = ("decode_detections + nms", "post-processing")
ADELAIDET_CONVOLUTION = ("grouped convolution", "AdelaiDet's grouped convolution")
COMPARISONS = (
    Comparison(*HEAD, "100 x 100x136", *ADELAIDET_CONVOLUTION),
    Comparison(*HEAD, "100 x 100x136", "Mask R-CNN's mask head", "torchvision's Mask R-CNN mask head"),
    Comparison(*HEAD, "100 x 100x136", "chunked matmul", "the fastest plain PyTorch that we know"),
    Comparison(
        "mask loss, forward and backward, 128 instances on two images",
        "dynamic_mask_loss",
        "training",
        "128 x 100x136",
        *ADELAIDET_CONVOLUTION,
        direction="training",
    ),
    Comparison(
        "mask loss, forward and backward, 1,000 instances on two images",
        "dynamic_mask_loss",
        "training",
        "1000 x 100x136",
        *ADELAIDET_CONVOLUTION,
        direction="training",
    ),
    Comparison(
        "mask logits to COCO run lengths, 100 masks of a model, 800 x 1071",
        "masks_to_rle",
        "run lengths",
        "100 of a model, 800 x 1071",
        "AdelaiDet",
        "AdelaiDet's chain with pycocotools",
    ),
    Comparison(
        "the same on random logits, 800 x 1088",
        "masks_to_rle",
        "run lengths",
        "random logits",
        "AdelaiDet",
        "AdelaiDet's chain with pycocotools",
    ),
    Comparison(
        "`model.predict`, packaged model, 100 objects, 800 x 1071",
        "model.predict",
        "run lengths",
        "100 objects, 800 x 1071",
        "masks as pixels, then pycocotools",
        "masks as pixels, then pycocotools",
        ours="masks_to_rle",
    ),
    Comparison(
        "from logits to detections, 800 x 1088, batch 1",
        *POST_PROCESSING,
        "batch 1",
        "eager chain",
        "AdelaiDet's chain of operations",
    ),
    Comparison(
        "from logits to detections, 800 x 1088, batch 8",
        *POST_PROCESSING,
        "batch 8",
        "eager chain",
        "AdelaiDet's chain of operations",
    ),
    Comparison(
        "NMS, 3,000 boxes of 80 classes",
        "nms",
        "operator",
        "3000 boxes, 80 classes",
        "torchvision.ops.batched_nms",
        "torchvision's `batched_nms`",
    ),
    Comparison(*FOCAL, "reference", "PyTorch", direction="training"),
    Comparison(*FOCAL, "torchvision", "torchvision", direction="training"),
    Comparison(*FOCAL, "torch.compile(reference)", "`torch.compile`", direction="training"),
    Comparison(
        "targets of 2 images with 30 objects each, 5 levels", "fcos_targets", "operator", "2x30", "reference", "PyTorch"
    ),
    Comparison(
        "panoptic merge, 100 instances and 54 classes, 800 x 1088",
        "panoptic_merge",
        "operator",
        "54 channels",
        "reference",
        "PyTorch",
    ),
    Comparison(
        "panoptic merge, 100 instances and 133 classes, 800 x 1088",
        "panoptic_merge",
        "operator",
        "133 channels",
        "reference",
        "PyTorch",
    ),
    Comparison(
        "panoptic merge, the worst case: random logits, 133 classes",
        "panoptic_merge",
        "operator",
        "random logits",
        "reference",
        "PyTorch",
    ),
)


def comparison_cells(comparison: Comparison, rows: list[Row]) -> list[str]:
    """Times, ratio and memory of the last run with both variants.

    Raises:
        ValueError: one of the two was not measured.
    """
    measured = {
        row.variant: row
        for row in latest(rows, comparison.op, comparison.study)
        if (row.sample, row.direction, row.dtype) == (comparison.sample, comparison.direction, "float32")
    }
    missing = [name for name in (comparison.ours, comparison.other) if name not in measured]
    if missing:
        raise ValueError(f"{comparison.op}, {comparison.sample}: {', '.join(missing)} not measured")
    ours, other = measured[comparison.ours], measured[comparison.other]
    return [
        comparison.title,
        three_digits(ours.p50_ms),
        comparison.other_title,
        three_digits(other.p50_ms),
        three_digits(other.p50_ms / ours.p50_ms),
        _memory(ours),
        _memory(other),
        f"{ours.commit}, {ours.date[:10]}",
    ]


def times(rows: list[Row]) -> list[str]:
    """The machine, and the table of comparisons."""
    columns = ["", "ours, ms", "compared with", "its ms", "times as fast", "our MiB", "its MiB", "commit, date"]
    cells = [comparison_cells(comparison, rows) for comparison in COMPARISONS]
    machine = f"{rows[-1].device}, torch {rows[-1].torch}, float32."
    return [machine, TextTable("Medians on a CPU, both variants in one run", columns, cells).markdown()]


def scores() -> list[str]:
    """Average precision and panoptic quality of the runs in docs/logs."""
    packaged, shorter = (_last(LOGS / name / "validation.csv") for name in ("condinst_nano_packaged", "condinst_nano"))
    mask_rcnn = json.loads((LOGS / "mask_rcnn/metrics.json").read_text())
    panoptic = json.loads((LOGS / "panoptic_sample/metrics.json").read_text())
    images = f"{packaged['images']} validation images of nuclei"
    cells = [
        [
            "`condinst_nano`, the packaged model",
            images,
            f"mask AP {_percent(packaged['mask_AP'])}, box AP {_percent(packaged['box_AP'])}",
            "[condinst_nano.md](condinst_nano.md)",
        ],
        [
            f"the same network after {_last(LOGS / 'condinst_nano/log.csv')['step']} steps, in a run of its own",
            images,
            f"mask AP {_percent(shorter['mask_AP'])}",
            "[training.md](training.md)",
        ],
        [
            f"torchvision's Mask R-CNN on the same backbone, data and time ({mask_rcnn['minutes']} minutes)",
            images,
            f"mask AP {_percent(mask_rcnn['mask']['AP'])}",
            "[training.md](training.md)",
        ],
        [
            "an overfit check: `condinst_r50_1x_panoptic` learns COCO's panoptic sample by heart",
            "the 2 training images, in the views of the training",
            "PQ {}: things {}, stuff {}".format(
                *(_percent(panoptic[kind]["PQ"]) for kind in ("all", "things", "stuff"))
            ),
            "[panoptic.md](panoptic.md)",
        ],
    ]
    return [TextTable("Scores in percent", ["model", "images", "score", "details"], cells).markdown()]


def parts() -> list[Part]:
    """The generated blocks of the page."""
    rows = read_rows(ROWS)
    dice_loss = latest(rows, "dice_loss", "operator")
    return [
        block_part(PAGE, "times", lambda: times(rows)),
        block_part(PAGE, "dice loss", lambda: [operator_table(dice_loss).markdown()]),
        block_part(PAGE, "scores", scores),
    ]


def _last(path: Path) -> dict[str, str]:
    """The last row of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[-1]


def _memory(row: Row) -> str:
    """Extra memory by PyTorch's allocator, and the growth of the process."""
    resident = "-" if row.resident_mib is None else three_digits(row.resident_mib)
    return f"{three_digits(row.peak_mib)} / {resident}"


def _percent(value: Any) -> str:
    return f"{100 * float(value):.1f}"


if __name__ == "__main__":
    Program(make_report_parser(__doc__)).write_parts(parts())
