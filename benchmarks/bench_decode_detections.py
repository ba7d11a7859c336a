"""Times `decode_detections`, and all post-processing with `nms`: ``python benchmarks/bench_decode_detections.py``.

The floor of the operator is reading the class logits once.
"""

from __future__ import annotations

from pathlib import Path

import torch

from condinst.benchmarking.detection import measure_post_processing
from condinst.benchmarking.operators import benchmark
from condinst.benchmarking.results import append_rows
from condinst.ops.decode_detections.spec import SPEC
from condinst.testing import Sample

RESULTS = Path(__file__).parent / "results"


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sample.args[0].nbytes}


if __name__ == "__main__":
    benchmark(SPEC, bytes_moved, RESULTS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = measure_post_processing(device, progress=print)
    print(f"{len(rows)} rows added to {append_rows(rows, RESULTS).name}")
