"""Times `masks_to_rle` alone, after the mask head and in predictions: ``python benchmarks/bench_masks_to_rle.py``.

Beside it AdelaiDet's chain. The masks are those of the packaged model on a bundled image whose short side is brought to
800 pixels, blobs, and random logits, the worst case.
"""

from __future__ import annotations

from pathlib import Path

import torch

import condinst
from condinst.benchmarking.masks import made_cases, measure_groups, measure_masks, measure_predict, model_case
from condinst.benchmarking.results import append_rows, times_text

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "examples/nuclei/da5f98f2b8a64eee.jpg"

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = condinst.load(
        "condinst_nano", device=device, max_detections=100, mask_output_stride=4, min_size_test=800, max_size_test=1088
    )
    rows = measure_masks(device, [model_case(model, IMAGE), *made_cases(device)], progress=print)
    around = measure_groups(model, IMAGE) + measure_predict(model, IMAGE)
    for row in around:
        print(f"{row.op}, {row.sample}, {row.variant}: {times_text(row)} ms, {row.ratio} x")
    rows += around
    print(f"{len(rows)} rows added to {append_rows(rows, ROOT / 'benchmarks/results').name}")
