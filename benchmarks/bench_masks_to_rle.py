"""Times `masks_to_rle`: ``python benchmarks/bench_masks_to_rle.py``.

100 instances on an image of 800 x 1088, from logits at a quarter of its size: blobs as models give them, and random
logits, the worst case, where boundaries are everywhere. Against the reference, and against what AdelaiDet does: all
masks at image size as floats, then pycocotools. The calls take turns; the best of each counts. Memory is what a process
with one call of its own needs more than one without.
"""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional as F

from condinst.reference import aligned_bilinear
from condinst.testing import Sample
from condinst.testing.masks_to_rle import SPEC

ROUNDS = 3


def adelaidet(logits: Tensor, *, mask_stride: int, network_size: Any, output_size: Any, threshold: float) -> list[Any]:
    """The same by all masks at image size."""
    fine = aligned_bilinear(logits.sigmoid(), mask_stride)[:, : network_size[0], : network_size[1]]
    fine = F.interpolate(fine[:, None], size=output_size, mode="bilinear", align_corners=False)[:, 0]
    masks = (fine > threshold).float()
    return [coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]


CALLS: dict[str, Callable[..., Any]] = {
    "cpp": partial(SPEC.op, backend="cpp"),
    "reference": SPEC.reference,
    "AdelaiDet": adelaidet,
}


def seconds(call: Callable[..., Any], sample: Sample) -> float:
    """Of one call."""
    start = time.perf_counter()
    call(*sample.args, **sample.kwargs)
    return time.perf_counter() - start


def _peak_mb(name: str | None, index: int) -> float:
    sample = SPEC.benchmark_samples(torch.float32, torch.device("cpu"))[index]
    if name is not None:
        CALLS[name](*sample.args, **sample.kwargs)
    status = Path("/proc/self/status").read_text()  # getrusage begins with the parent's peak
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1024


def peak_mb(name: str | None, index: int) -> float:
    """Peak memory of a process that makes one call, or none."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mb, (name, index))


def main() -> None:
    """Print a table."""
    for index, sample in enumerate(SPEC.benchmark_samples(torch.float32, torch.device("cpu"))):
        times = {name: [seconds(call, sample)] for name, call in CALLS.items()}
        for _ in range(ROUNDS):
            for name, call in CALLS.items():
                times[name].append(seconds(call, sample))
        without = peak_mb(None, index)
        for name in CALLS:
            best = min(times[name])
            ratio = best / min(times["cpp"])
            memory = peak_mb(name, index) - without
            print(f"{sample.name:14} {name:10} {1e3 * best:8.1f} ms {ratio:6.1f} x cpp {memory:8.0f} MB")


if __name__ == "__main__":
    main()
