"""The stream of training samples: the same for a seed, whatever the number of workers and wherever it is resumed."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from condinst.data.coco import CocoInstances
from condinst.data.transforms import TrainingTransform

Target = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One training image with its objects, or the reason why there is none.

    Args:
        path: the image file.
        image: uint8 [3, H, W], None when it could not be read.
        target: see `CocoInstances`.
        problem: why it could not be read.
    """

    path: str
    image: Tensor | None = None
    target: Target = dataclasses.field(default_factory=dict)
    problem: str = ""


class SampleStream(Dataset[Sample]):
    """An endless series of samples: one shuffled pass over the data after the other, changed at random.

    The sample at a position depends on `seed` and the position only.

    Args:
        data: where the samples come from.
        transform: the random changes.
        seed: of order and changes.
    """

    def __init__(self, data: CocoInstances, transform: TrainingTransform, seed: int) -> None:
        if not len(data):
            raise ValueError(f"{data.annotations}: expected at least one image to train on, got none")
        self.data = data
        self.transform = transform
        self.seed = seed

    def __getitem__(self, position: int) -> Sample:
        epoch, offset = divmod(position, len(self.data))
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(self.seed + epoch))
        index = int(order[offset])
        path = str(self.data.image_path(index))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + position)
            try:
                image = self.data.image(index)
                crop = self.transform.draw_crop(image.shape[1], image.shape[2])
                target = self.data.target(index, None if crop is None else crop.box)
                image, target = self.transform(image, target, crop)
            except (OSError, ValueError) as error:
                return Sample(path, problem=str(error))
        return Sample(path, image, target)


def make_loader(stream: SampleStream, *, batch_size: int, start: int, steps: int, workers: int) -> DataLoader[Sample]:
    """Batches, lists of samples, for the steps `start` .. `steps` - 1.

    Args:
        stream: where the samples come from.
        batch_size: samples per step.
        start: first step.
        steps: step after the last.
        workers: processes that prepare batches; 0 prepares them in this one.
    """
    return DataLoader(
        stream,
        batch_size=batch_size,
        sampler=range(start * batch_size, steps * batch_size),
        num_workers=workers,
        collate_fn=list,
        # A generator of its own: a loader otherwise draws from the global one, which resuming must leave alone.
        generator=torch.Generator().manual_seed(stream.seed),
    )
