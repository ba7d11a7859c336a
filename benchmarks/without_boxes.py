"""Table 6 for the packaged model: average precision and time with NMS on boxes, on masks, and with Matrix NMS.

``python benchmarks/without_boxes.py IMAGES ANNOTATIONS`` prints the table and puts it into docs/detection.md. The
models share their weights and take turns on each image; what is timed is the whole call, without reading the image.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path

from studies.program import ROOT, Program, make_parser

PAGE = "docs/detection.md"
MAX_DETECTIONS = 500
KINDS = ("box", "mask", "matrix")


def main() -> None:
    """Evaluate the models and write the table."""
    parser = make_parser(__doc__, out=ROOT, out_holds=PAGE)
    parser.add_argument("images", type=Path, help="folder of the images")
    parser.add_argument("annotations", type=Path, help="their COCO instances JSON")
    program = Program(parser)
    kinds = program.choose({f"nms {kind}": kind for kind in KINDS})
    program.device()

    import torch
    from rich.progress import track

    import condinst
    from condinst.benchmarking.machine import about
    from condinst.benchmarking.tables import TextTable
    from condinst.data.coco import CocoInstances
    from condinst.evaluation.coco import average_precision, coco_results
    from studies.pages import block_part

    data = CocoInstances(program.options.annotations, program.options.images)
    models = {nms: condinst.load("condinst_nano", nms=nms, max_detections=MAX_DETECTIONS) for nms in kinds}
    seconds: dict[str, list[float]] = {nms: [] for nms in kinds}
    results: dict[str, list[dict[str, object]]] = {nms: [] for nms in kinds}
    for index in track(range(len(data)), description="Evaluating"):
        image = data.image(index)
        for nms in kinds if index % 2 else reversed(kinds):
            start = time.perf_counter()
            with torch.inference_mode():
                (found,) = models[nms]([image])
            seconds[nms].append(time.perf_counter() - start)
            results[nms] += coco_results(found, data.image_ids[index], data.classes.category_ids)[1]
    first = kinds[0]
    cells = []
    for nms in kinds:
        scores = average_precision(
            data.coco, results[nms], "segm", max_detections=MAX_DETECTIONS, image_ids=data.image_ids
        )
        slower = statistics.median(own / other for own, other in zip(seconds[nms], seconds[first], strict=True))
        found_ap = [scores[key] for key in ("AP", "AP50", "AP75", "APs", "APm", "APl")]
        percents = ["-" if math.isnan(ap) else f"{100 * ap:.1f}" for ap in found_ap]
        cells.append([nms, *percents, f"{1e3 * statistics.median(seconds[nms]):.0f}", f"{slower:.2f}"])
    columns = ["NMS", "AP", "AP50", "AP75", "APs", "APm", "APl", "ms per image", f"times {first} NMS"]
    run = about(torch.device("cpu"))
    title = f"Mask AP in percent on {len(data)} images of nuclei ({run['device']}, {str(run['date'])[:10]})"
    table = TextTable(title, columns, cells).markdown()
    print(table)
    block_part(PAGE, "without boxes", lambda: [table]).write(program.out)


if __name__ == "__main__":
    main()
