"""A model over the images of a data set, one at a time, shared by the processes of torch.distributed."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, distributed, nn

from condinst.data.annotated import AnnotatedImages
from condinst.data.findings import Finding
from condinst.distributed import rank, world_size
from condinst.messages import is_out_of_memory
from condinst.progress import track

T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass
class Outcome(Generic[T]):
    """What came of one image: the result and seconds, and why it was skipped if it was."""

    result: T
    model_seconds: float = 0.0
    seconds: float = 0.0
    problem: str = ""


def run_model(
    model: nn.Module,
    data: AnnotatedImages,
    indices: Sequence[int],
    to_result: Callable[[int, dict[str, Any] | None], T],
    *,
    options: dict[str, Any],
    device: torch.device,
    progress: bool,
) -> list[Outcome[T]]:
    """Runs a model over images, this process's share of them, and gathers those of the others.

    An image that cannot be read or does not fit in the GPU's memory is named in the log and skipped.

    Args:
        model: takes a list of images; it is put into eval mode and back.
        data: the images.
        indices: which of them.
        to_result: makes, of the index of an image and what the model gave for it, what is kept; of None where the
            image was skipped.
        options: further arguments of the model.
        device: where the model runs.
        progress: show a progress bar on stderr, if that is a terminal.

    Returns:
        The outcomes in the order of `indices`, so that several processes give what one does.
    """

    def detect(image: Tensor) -> dict[str, Any]:
        (detections,) = model([image.to(device)], **options)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # for the clock
        return detections

    first, step = rank(), world_size()
    share = indices[first::step]
    modes = {part: part.training for part in model.modules()}  # parts may differ, such as norms that are kept in eval
    model.eval().to(device)
    try:
        with torch.inference_mode():
            outcomes = [
                _run_image(detect, data, index, to_result)
                for index in track(share, "Evaluating", len(share), shown=progress and first == 0)
            ]
    finally:
        for part, training in modes.items():
            part.training = training
    if step == 1:
        return outcomes
    shares: list[list[Outcome[T]]] = [[] for _ in range(step)]
    distributed.all_gather_object(shares, outcomes)
    return [shares[place % step][place // step] for place in range(len(indices))]


def _run_image(
    detect: Callable[[Tensor], dict[str, Any]],
    data: AnnotatedImages,
    index: int,
    to_result: Callable[[int, dict[str, Any] | None], T],
) -> Outcome[T]:
    start = time.perf_counter()
    try:
        image = data.image(index)
    except (ValueError, OSError) as error:
        return Outcome(to_result(index, None), problem=_skip(data, index, error))
    read = time.perf_counter()
    try:
        detections = detect(image)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return Outcome(to_result(index, None), problem=_skip(data, index, error))
    detected = time.perf_counter()
    result = to_result(index, detections)
    return Outcome(result, model_seconds=detected - read, seconds=time.perf_counter() - start)


def _skip(data: AnnotatedImages, index: int, error: Exception) -> str:
    """Names an image that is skipped in the log. Returns the reason."""
    path = data.image_path(index)
    reason = str(error).partition("\n")[0].removeprefix(f"{path}: ")
    _logger.warning("skipped, its objects count as missed: %s: %s", path, reason)
    return reason


def run_lengths_option(model: nn.Module) -> dict[str, Any]:
    """The argument that asks for masks as run lengths, of models that have it: ours, but not torchvision's."""
    return {"mask_format": "rle"} if "mask_format" in inspect.signature(model.forward).parameters else {}


def image_count(data: AnnotatedImages, max_images: int) -> int:
    """How many images count: the first `max_images`, 0 for all.

    Raises:
        ValueError: a negative number.
    """
    if max_images < 0:
        raise ValueError(f"max_images: expected at least 0 (0: all images), got {max_images}")
    return min(max_images or len(data), len(data))


def check_output(path: Path, inputs: Iterable[Path]) -> None:
    """Raises a ValueError where a file or folder of results is one of the inputs."""
    if path.resolve() in {source.resolve() for source in inputs}:
        raise ValueError(f"{path}: expected results elsewhere; these would overwrite data that is read")


def check_images(data: AnnotatedImages, count: int) -> None:
    """Raises a ValueError where none of the first `count` images is there."""
    if not any(os.path.isfile(data.image_path(index)) for index in range(count)):
        example = f"; {data.image_path(0)} and all others are missing" if count else ""
        raise ValueError(f"images: expected the folder of the images of {data.annotations}{example}")


def report(data: AnnotatedImages, indices: Sequence[int], outcomes: Sequence[Outcome[Any]]) -> dict[str, Any]:
    """What all evaluators report of the outcomes of these images, see `Evaluator.evaluate`."""
    done = [outcome for outcome in outcomes if not outcome.problem]
    return {
        "data": str(data.annotations),
        "images": len(outcomes),
        "failed": [
            {"image_id": data.image_ids[index], "path": str(data.image_path(index)), "reason": outcome.problem}
            for index, outcome in zip(indices, outcomes, strict=True)
            if outcome.problem
        ],
        "timing": {
            "model": mean([outcome.model_seconds for outcome in done]),
            "total": mean([outcome.seconds for outcome in done]),
        },
    }


def report_findings(objects_left_out: int, findings: Sequence[Finding]) -> dict[str, Any]:
    """What evaluators report of the annotations: how many objects the scores are without, and what is unusual."""
    return {"objects_left_out": objects_left_out, "findings": [dataclasses.asdict(finding) for finding in findings]}


def mean(values: Sequence[float]) -> float:
    """The mean, NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")
