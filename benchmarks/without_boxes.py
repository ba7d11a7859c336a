"""Table 6 for the packaged model: average precision and time with NMS on boxes, on masks, and with Matrix NMS.

``python benchmarks/without_boxes.py IMAGES ANNOTATIONS`` prints the table and puts it into docs/detection.md. The three
models share their weights and take turns on each image; what is timed is the whole call, without reading the image.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.progress import track

import condinst
from condinst.benchmarking.machine import about
from condinst.benchmarking.tables import TextTable
from condinst.data.coco import CocoInstances
from condinst.evaluation.coco import average_precision, coco_results
from studies.pages import replace_block

ROOT = Path(__file__).resolve().parents[1]
MAX_DETECTIONS = 500
KINDS = ("box", "mask", "matrix")


def main(images: str, annotations: str) -> None:
    """Evaluate the three and write the table."""
    data = CocoInstances(Path(annotations), Path(images))
    models = {nms: condinst.load("condinst_nano", nms=nms, max_detections=MAX_DETECTIONS) for nms in KINDS}
    seconds: dict[str, list[float]] = {nms: [] for nms in KINDS}
    results: dict[str, list[dict[str, object]]] = {nms: [] for nms in KINDS}
    for index in track(range(len(data)), description="Evaluating"):
        image = data.image(index)
        for nms in KINDS if index % 2 else reversed(KINDS):
            start = time.perf_counter()
            with torch.inference_mode():
                (found,) = models[nms]([image])
            seconds[nms].append(time.perf_counter() - start)
            results[nms] += coco_results(found, data.image_ids[index], data.category_ids)[1]
    cells = []
    for nms in KINDS:
        scores = average_precision(
            data.coco, results[nms], "segm", max_detections=MAX_DETECTIONS, image_ids=data.image_ids
        )
        slower = statistics.median(own / box for own, box in zip(seconds[nms], seconds["box"], strict=True))
        found_ap = [scores[key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
        percents = ["-" if math.isnan(ap) else f"{100 * ap:.1f}" for ap in found_ap]
        cells.append([nms, *percents, f"{1e3 * statistics.median(seconds[nms]):.0f}", f"{slower:.2f}"])
    columns = ["NMS", "AP", "AP50", "AP75", "APs", "APm", "APl", "ms per image", "times box NMS"]
    run = about(torch.device("cpu"))
    title = f"Mask AP in percent on {len(data)} images of nuclei ({run['device']}, {str(run['date'])[:10]})"
    table = TextTable(title, columns, cells).markdown()
    print(table)
    replace_block(ROOT / "docs/detection.md", "without boxes", [table])


if __name__ == "__main__":
    main(*sys.argv[1:])
