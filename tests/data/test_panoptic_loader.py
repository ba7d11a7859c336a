"""The stream of training batches from panoptic data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from condinst.data.panoptic import CocoPanoptic
from condinst.data.rles import mask_pixels
from condinst.data.transforms import TrainingTransform
from condinst.engine.loader import Sample, SampleStream, aspect_groups, make_loader
from tests.data.augmentation import make_transform

from .synthetic import write_panoptic

TRANSFORMS = {
    "whole": make_transform(min_size_train=(48, 64), max_size_train=80),
    "crop": make_transform(crop_size=32, min_size_test=64, max_size_test=80, scale_range=(0.5, 2.0)),
    "jitter": make_transform(crop_size=64, min_size_test=64, max_size_test=80, scale_range=(0.1, 2.0), copy_paste=1.0),
}


def read(data: CocoPanoptic, transform: TrainingTransform, workers: int = 0) -> list[Sample]:
    """An epoch of six images."""
    stream = SampleStream(data, transform, seed=3)
    loader = make_loader(stream, groups=aspect_groups(data), batch_size=2, steps=range(3), workers=workers)
    return [sample for batch in loader for sample in batch]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_epoch(tmp_path: Path, name: str) -> None:
    data = CocoPanoptic(write_panoptic(tmp_path, images=6), tmp_path / "images")
    samples = read(data, TRANSFORMS[name])
    assert sorted(sample.path for sample in samples) == [str(data.image_path(index)) for index in range(6)]
    labels = set()
    for sample in samples:
        assert sample.image is not None and not sample.problems
        height, width = sample.image.shape[1:]
        semantic = sample.target["semantic"]
        assert semantic.shape == (height, width) and semantic.dtype == torch.int16
        labels |= set(semantic.unique().tolist())
        masks = mask_pixels(sample.target["rles"], np.arange(height), np.arange(width))
        for mask, label in zip(masks, sample.target["labels"].tolist(), strict=True):
            share = (semantic[mask] == label).float().mean()
            assert share == 1 if name == "whole" else share > 0.7  # masks of parts are averaged, labels are not
    assert {0, 1, 2, 3} <= labels <= {-1, 0, 1, 2, 3}


def test_workers_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    data = CocoPanoptic(write_panoptic(tmp_path, images=6), tmp_path / "images")
    (tmp_path / "panoptic" / "2.png").write_bytes(b"no image")
    alone, with_workers = read(data, TRANSFORMS["crop"]), read(data, TRANSFORMS["crop"], workers=1)
    for one, other in zip(alone, with_workers, strict=True):
        assert one.path == other.path and torch.equal(one.target["semantic"], other.target["semantic"])
    problems = [problem for sample in alone for problem in sample.problems]
    assert len(problems) == 1 and problems[0][0].endswith("2.jpg") and "2.png: not an image" in problems[0][1]
