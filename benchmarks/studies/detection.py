"""The study of what comes after the heads: from predictions at all locations to the detections of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from condinst import ops
from condinst.benchmarking.machine import about, available_backends, read_bytes_per_second
from condinst.benchmarking.memory import allocator_peak_mib
from condinst.benchmarking.results import Row, make_rows, times_text
from condinst.benchmarking.timing import clock_for, take_turns
from condinst.ops.decode_detections.spec import PYRAMID_800
from studies.baselines import eager_detections

EAGER = "eager chain"
STUDY = "post-processing"
BATCH_SIZES = (1, 8)

OPTIONS: dict[str, Any] = {
    "level_sizes": list(PYRAMID_800),
    "strides": (8, 16, 32, 64, 128),
    "score_threshold": 0.05,
    "top_k": 1000,
    "iou_threshold": 0.6,
    "max_detections": 100,
}
"""AdelaiDet's, on an image of 800 x 1088."""

Eager = list[tuple[Tensor, Tensor, Tensor, Tensor]]


class Detected(NamedTuple):
    """Detections with B x capacity places, by falling score.

    boxes [B, capacity, 4], scores [B, capacity], labels [B, capacity], location_indices [B, capacity]; counts [B] says
    how many places of an image are taken.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    location_indices: Tensor
    counts: Tensor


def detection_inputs(
    device: torch.device,
    batch_size: int,
    sizes: Sequence[tuple[int, int]] = PYRAMID_800,
    num_classes: int = 80,
    *,
    mean: float = -11.5,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Random class logits [B, L, C], centre-ness logits [B, L] and distances [B, L, 4], no two scores alike.

    With the mean as it is, about one in a thousand pairs of location and class is above AdelaiDet's threshold.
    """
    generator = torch.Generator().manual_seed(seed)
    num_locations = sum(height * width for height, width in sizes)
    class_logits = torch.randn(batch_size, num_locations, num_classes, generator=generator) * 2 + mean
    centerness = torch.randn(batch_size, num_locations, generator=generator) + 1
    distances = torch.rand(batch_size, num_locations, 4, generator=generator) * 8
    return class_logits.to(device), centerness.to(device), distances.to(device)


def post_process(
    class_logits: Tensor,
    centerness_logits: Tensor,
    box_distances: Tensor,
    *,
    level_sizes: list[tuple[int, int]],
    strides: tuple[int, ...],
    score_threshold: float,
    top_k: int,
    iou_threshold: float,
    max_detections: int,
    backend: str | None = None,
) -> Detected:
    """`decode_detections` and `nms` with the sizes the model gives them; nothing waits for the device."""
    found = ops.decode_detections(
        class_logits,
        centerness_logits,
        box_distances,
        level_sizes=level_sizes,
        strides=strides,
        score_threshold=score_threshold,
        top_k=top_k,
        backend=backend,
    )
    batch_size, places = found.labels.shape
    image = torch.arange(batch_size, device=found.labels.device)[:, None].expand(-1, places)  # [B, K]
    kept = ops.nms(
        found.boxes.flatten(0, 1),
        found.scores.flatten(),
        found.labels.flatten(),
        torch.where(found.labels >= 0, image, -1).flatten(),
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        num_images=batch_size,
        capacity=2 * max_detections,
        backend=backend,
    )
    index = kept.indices.clamp(min=0)  # [B, capacity]
    return Detected(
        found.boxes.flatten(0, 1)[index],
        found.scores.flatten()[index],
        found.labels.flatten()[index],
        found.location_indices.flatten()[index],
        kept.counts,
    )


def check_detections(expected: Eager, actual: Detected) -> None:
    """Raise AssertionError unless the detections of each image are those of the eager chain, in the same order."""
    assert actual.counts.tolist() == [scores.shape[0] for _, scores, _, _ in expected]
    for image, (boxes, scores, labels, locations) in enumerate(expected):
        taken = slice(0, scores.shape[0])
        assert actual.labels[image, taken].tolist() == labels.tolist(), f"image {image}: other labels"
        assert actual.location_indices[image, taken].tolist() == locations.tolist(), f"image {image}: other locations"
        torch.testing.assert_close(actual.scores[image, taken], scores)
        torch.testing.assert_close(actual.boxes[image, taken], boxes)


def sample_name(batch_size: int) -> str:
    """What a batch size is called in rows and by ``--filter``."""
    return f"batch {batch_size}"


def measure_post_processing(
    device: torch.device,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    rounds: int = 15,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Time of the post-processing of five levels and 80 classes, by batch size.

    The floor is reading the class logits once.

    Args:
        device: where to compute.
        batch_sizes: images at a time; there may be none.
        rounds: timings of each variant.
        progress: called with a line for each row.

    Raises:
        ValueError: a variant finds other detections than the eager chain.
    """
    if not batch_sizes:
        return []
    run, rate = about(device), read_bytes_per_second(device)
    backends = [name for name in available_backends("nms", device) if name != "reference"]
    rows: list[Row] = []
    for batch_size in batch_sizes:
        inputs = detection_inputs(device, batch_size)
        calls: dict[str, Callable[[], Any]] = {EAGER: partial(eager_detections, *inputs, **OPTIONS)}
        for backend in backends:
            calls[backend] = partial(post_process, *inputs, **OPTIONS, backend=backend)
        expected = calls[EAGER]()
        for name, call in calls.items():
            try:
                if name != EAGER:
                    check_detections(expected, call())
            except AssertionError as error:
                raise ValueError(f"not timed: {name} finds other detections: {error}") from error
        new = make_rows(
            {
                **run,
                "op": "decode_detections + nms",
                "study": STUDY,
                "sample": sample_name(batch_size),
                "dtype": "float32",
                "direction": "forward",
            },
            take_turns(calls, clock_for(device), rounds),
            baseline=EAGER,
            floor_seconds=inputs[0].nbytes / rate,
            peaks_mib={name: allocator_peak_mib(call, device) for name, call in calls.items()},
            resident_mib={},
            num_instances=None,
        )
        for row in new:
            progress(f"{row.sample}, {row.variant}: {times_text(row)} ms, {row.ratio} x {row.baseline}")
        rows += new
    return rows
