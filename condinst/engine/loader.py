"""The stream of training batches: the same for a seed, whatever the number of workers and wherever it is resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from condinst.data.annotated import AnnotatedImages
from condinst.data.objects import Objects
from condinst.data.transforms import TrainingTransform
from condinst.messages import is_out_of_memory

from .batches import is_out_of_files
from .interruption import ignore_interruptions

Target = dict[str, Any]
Key = tuple[int, int]
"""A sample's place in the stream, and the image that is to be there."""

TRIES = 50
"""Images that are tried in place of one that cannot be read."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One training image with its objects.

    Args:
        path: the image file.
        image: uint8 [3, H, W]; None when no image could be read.
        target: `boxes`, `labels` and `rles`, for panoptic data `semantic`, see `TrainingTransform`.
        problems: the images that should have been here, and why they could not be read.
    """

    path: str
    image: Tensor | None
    target: Target
    problems: tuple[tuple[str, str], ...] = ()


class SampleStream(Dataset[Sample]):
    """Images changed at random. A sample depends on the seed, its place in the stream and its image only.

    In place of an image that cannot be read comes the next one that can, so that batches stay full.

    Args:
        data: where the samples come from.
        transform: the random changes.
        seed: of the changes.
    """

    def __init__(self, data: AnnotatedImages, transform: TrainingTransform, seed: int) -> None:
        self.data = data
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: Key) -> Sample:
        position, first = key
        problems: list[tuple[str, str]] = []
        for attempt in range(min(TRIES, len(self.data))):
            index = (first + attempt) % len(self.data)
            path = str(self.data.image_path(index))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed * 1_000_003 + position)
                try:
                    image, target = self._change(index)
                except Exception as error:
                    if not _costs_one_image(error):
                        raise
                    problems.append((path, "not enough memory" if is_out_of_memory(error) else str(error)))
                    continue
            return Sample(path, image, target, tuple(problems))
        return Sample(path, None, {}, tuple(problems))

    def _change(self, index: int) -> tuple[Tensor, Target]:
        image = self.data.image(index)
        crop = self.transform.draw_crop(image.shape[1], image.shape[2])
        objects = self.data.objects(index, None if crop is None else crop.box)
        return self.transform(image, objects, crop, self._other)

    def _other(self) -> tuple[Tensor, Objects]:
        """A random image to copy from. One that cannot be read is passed over; it is named when its own turn comes."""
        for attempt in range(TRIES):
            index = int(torch.randint(len(self.data), ()))
            try:
                return self.data.image(index), self.data.objects(index)
            except Exception as error:
                if attempt == TRIES - 1 or not _costs_one_image(error):
                    raise
        raise AssertionError  # the last attempt has returned or raised


def _costs_one_image(error: Exception) -> bool:
    """Whether training goes on without the image that an error is about."""
    return (isinstance(error, OSError | ValueError) and not is_out_of_files(error)) or is_out_of_memory(error)


def batch_keys(groups: Sequence[int], batch_size: int, seed: int) -> Iterator[list[Key]]:
    """An endless series of batches: one shuffled pass over the images after the other.

    Args:
        groups: of each image; a batch has images of one group.
        batch_size: samples of a batch.
        seed: of the order.
    """
    waiting: dict[int, list[Key]] = {}
    position = 0
    for epoch in count():
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed + epoch))
        for index in order.tolist():
            batch = waiting.setdefault(groups[index], [])
            batch.append((position, index))
            position += 1
            if len(batch) == batch_size:
                yield batch
                del waiting[groups[index]]


def aspect_groups(data: AnnotatedImages) -> list[int]:
    """1 for images wider than high, 0 for the others."""
    return (data.aspect_ratios() > 1).long().tolist()


def make_loader(
    stream: SampleStream,
    *,
    groups: Sequence[int],
    batch_size: int,
    steps: range,
    accumulate: int = 1,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Sample]:
    """Lists of samples, `accumulate` of them for each step: this process' part of the batches.

    The batches of a step are the same however many processes and parts share them.

    Args:
        stream: where the samples come from.
        groups: see `batch_keys`.
        batch_size: samples per step, over all processes and parts.
        steps: which steps.
        accumulate: parts of a step.
        rank: of this process, out of `world_size`.
        world_size: number of processes.
        workers: processes that prepare batches; 0 prepares them in this one.
        pin_memory: put images into memory from which copies to a GPU do not wait.

    Raises:
        ValueError: when the batch cannot be shared evenly.
    """
    if batch_size % (world_size * accumulate):
        raise ValueError(
            f"batch_size: expected a multiple of {world_size} (processes) times {accumulate} (accumulate),"
            f" got {batch_size}"
        )
    return DataLoader(
        stream,
        batch_sampler=_Parts(
            groups, batch_size, stream.seed, steps, batch_size // (world_size * accumulate), rank, world_size
        ),
        num_workers=workers,
        collate_fn=_Batch,
        pin_memory=pin_memory,
        worker_init_fn=ignore_interruptions,
        # A generator of its own: a loader otherwise draws from the global one, which resuming must leave alone.
        generator=torch.Generator().manual_seed(stream.seed),
    )


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The parts of batches that one process gets, made as they are asked for."""

    groups: Sequence[int]
    batch_size: int
    seed: int
    steps: range
    size: int
    rank: int
    world_size: int

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in islice(batch_keys(self.groups, self.batch_size, self.seed), self.steps.start, self.steps.stop):
            for start in range(self.rank * self.size, self.batch_size, self.world_size * self.size):
                yield batch[start : start + self.size]

    def __len__(self) -> int:
        return len(self.steps) * self.batch_size // (self.world_size * self.size)


class _Batch(list[Sample]):
    """A list of samples that a loader can pin."""

    def pin_memory(self) -> _Batch:
        return _Batch(
            sample if sample.image is None else dataclasses.replace(sample, image=sample.image.pin_memory())
            for sample in self
        )
