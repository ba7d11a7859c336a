"""The study of what comes after the mask head: from mask logits to run lengths at the size of the image."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst import CondInst, ops
from condinst.benchmarking.machine import about, available_backends, read_bytes_per_second
from condinst.benchmarking.memory import allocator_peak_mib, resident_peak_mib
from condinst.benchmarking.results import Row, make_rows, times_text
from condinst.benchmarking.timing import Call, clock_for, take_turns
from condinst.data.images import read_image
from condinst.models.preprocessing import ImageBatch
from condinst.ops import EncodedMasks
from condinst.ops.masks_to_image.reference import masks_to_image as reference_image
from condinst.ops.masks_to_rle.spec import SPEC
from studies.baselines import eager_rles

ADELAIDET = "AdelaiDet"
BEFORE, AFTER = "masks as pixels, then pycocotools", "masks_to_rle"
TOGETHER = "all at once"
STUDY = "run lengths"


class Case(NamedTuple):
    """Logits and the keyword arguments of `ops.masks_to_rle`."""

    name: str
    logits: Tensor
    sizes: dict[str, Any]


def model_case(model: CondInst, source: Path) -> Case:
    """What a model gives for an image."""
    batch, network = _batch(model, read_image(source))
    with torch.no_grad():
        logits = _mask_logits(model, batch)
    sizes = {"mask_stride": model.config.mask_output_stride, "network_size": network, "output_size": network}
    return Case(f"{len(logits)} of a model, {network[0]} x {network[1]}", logits, {**sizes, "threshold": 0.5})


def made_cases(device: torch.device) -> list[Case]:
    """Blobs, and random logits, whose boundaries are everywhere."""
    return [
        Case(sample.name, sample.args[0], dict(sample.kwargs))
        for sample in SPEC.benchmark_samples(torch.float32, device)
    ]


def measure_masks(
    device: torch.device,
    cases: list[Case],
    *,
    rounds: int = 9,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Time and memory of `masks_to_rle` by case, against AdelaiDet's chain. The floor is reading the logits once.

    Args:
        device: where to compute.
        cases: what to encode; there may be none.
        rounds: timings of each variant.
        progress: called with a line for each row.

    Raises:
        ValueError: a variant gives other masks, a pixel in a million aside.
    """
    if not cases:
        return []
    run, rate = about(device), read_bytes_per_second(device)
    rows: list[Row] = []
    for case in cases:
        names = [ADELAIDET, *available_backends("masks_to_rle", device)]
        calls = {name: _call(name, case.logits, case.sizes) for name in names}
        expected = calls[ADELAIDET]()
        for name, call in calls.items():
            refuse_other_masks(name, expected, call())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "logits.pt"  # how they were made must not count
            torch.save(case.logits, path)
            resident = {
                name: resident_peak_mib(_call_on_file, name, path, case.sizes) if device.type == "cpu" else None
                for name in names
            }
        new = make_rows(
            {
                **run,
                "op": "masks_to_rle",
                "study": STUDY,
                "sample": case.name,
                "dtype": "float32",
                "direction": "forward",
            },
            take_turns(calls, clock_for(device), rounds),
            baseline=ADELAIDET,
            floor_seconds=case.logits.nbytes / rate,
            peaks_mib={name: allocator_peak_mib(call, device) for name, call in calls.items()},
            resident_mib=resident,
            num_instances=len(case.logits),
        )
        for row in new:
            progress(f"{row.sample}, {row.variant}: {times_text(row)} ms, {row.ratio} x; {row.resident_mib} MiB")
        rows += new
    return rows


def measure_predict(model: CondInst, source: Path, *, rounds: int = 9) -> list[Row]:
    """The whole of ``model.predict``, and the same by way of masks as pixels, as it was before `masks_to_rle`."""
    image = read_image(source)
    network = _batch(model, image)[1]
    calls: dict[str, Call] = {BEFORE: partial(_predict_by_pixels, model, image), AFTER: partial(model.predict, image)}
    sample = f"{len(model.predict(image))} objects, {network[0]} x {network[1]}"
    return _take_turns(model, "model.predict", sample, calls, baseline=BEFORE, rounds=rounds)


def measure_groups(model: CondInst, source: Path, *, rounds: int = 31) -> list[Row]:
    """The mask head and `masks_to_rle` in a row, for all instances of an image and for a few at a time.

    The logits of a few stay in the cache: the difference is what one operator for both could save.
    """
    batch, network = _batch(model, read_image(source))
    with torch.no_grad():
        detections = model.detect(model.network(batch.pixels), batch)
    count = int(detections.counts[0])
    sizes: dict[str, Any] = {
        "mask_stride": model.config.mask_output_stride,
        "network_size": network,
        "output_size": network,
    }

    def call(group: int) -> Call:
        def run() -> None:
            with torch.no_grad():
                for places in detections.list_places(0, count).split(group):
                    ops.masks_to_rle(detections.mask_logits(places), **sizes)

        return run

    calls = {TOGETHER: call(count), **{f"{group} at a time": call(group) for group in (64, 16, 8)}}
    sample = f"{count} of a model, {network[0]} x {network[1]}"
    return _take_turns(model, "head + masks_to_rle", sample, calls, baseline=TOGETHER, rounds=rounds)


def _take_turns(
    model: CondInst, op: str, sample: str, calls: dict[str, Call], *, baseline: str, rounds: int
) -> list[Row]:
    """Rows of calls that have no floor of their own, each made once before it is timed."""
    for call in calls.values():
        call()
    return make_rows(
        {
            **about(model.device),
            "op": op,
            "study": STUDY,
            "sample": sample,
            "dtype": "float32",
            "direction": "forward",
        },
        take_turns(calls, clock_for(model.device), rounds),
        baseline=baseline,
        floor_seconds=0.0,
        peaks_mib={name: allocator_peak_mib(call, model.device) for name, call in calls.items()},
        resident_mib={},
        num_instances=None,
    )


def refuse_other_masks(name: str, expected: list[dict[str, Any]], found: Any) -> None:
    """Raise ValueError unless the run lengths are those of the same masks, a pixel in a million aside."""
    rles = found.rles if isinstance(found, EncodedMasks) else found
    wrong = pixels = 0
    for one, other in zip(expected, rles, strict=True):
        if one != other:
            wrong += int((coco_mask.decode(one) != coco_mask.decode(other)).sum())
        pixels += int(np.prod(one["size"]))
    if wrong * 1e6 > pixels:
        raise ValueError(f"not timed: {name} gives other masks in {wrong} of {pixels} pixels")


def _call(name: str, logits: Tensor, sizes: dict[str, Any]) -> Callable[[], Any]:
    if name == ADELAIDET:
        return partial(eager_rles, logits, **sizes)
    return partial(ops.masks_to_rle, logits, **sizes, backend=name)


def _call_on_file(name: str, path: Path, sizes: dict[str, Any]) -> Call:
    return _call(name, torch.load(path, weights_only=True), sizes)


def _batch(model: CondInst, image: Tensor) -> tuple[ImageBatch, tuple[int, int]]:
    """The image as the network sees it, and its (height, width) without padding."""
    batch = model.preprocess([image.to(model.device)])
    return batch, batch.network_sizes[0]


def _mask_logits(model: CondInst, batch: ImageBatch) -> Tensor:
    """The mask logits [K, h, w] of all detections in one image."""
    detections = model.detect(model.network(batch.pixels), batch)
    return detections.mask_logits(detections.list_places(0, int(detections.counts[0])))


def _predict_by_pixels(model: CondInst, image: Tensor) -> list[dict[str, Any]]:
    batch, network = _batch(model, image)
    with torch.no_grad():
        logits = _mask_logits(model, batch)
        masks = reference_image(
            logits,
            mask_stride=model.config.mask_output_stride,
            network_size=network,
            output_size=(image.shape[1], image.shape[2]),
        )
    return [coco_mask.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8))) for mask in masks]
