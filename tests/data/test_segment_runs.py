from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from condinst.data.rles import mask_pixels
from condinst.data.segment_runs import SegmentRuns


def make_ids(height: int, width: int, kind: str) -> torch.Tensor:
    random = torch.Generator().manual_seed(height * width)
    if kind == "one":
        return torch.full((height, width), 7, dtype=torch.int32)
    blocks = torch.randint(5, (-(-height // 4), -(-width // 4)), generator=random)
    ids = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width] * 1_000_003
    return (ids if kind == "blocks" else torch.randint(3, (height, width), generator=random)).int()


@pytest.mark.parametrize("kind", ["blocks", "noise", "one"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 22)])
def test_masks_areas_and_replaced_numbers(size: tuple[int, int], kind: str) -> None:
    ids = make_ids(*size, kind)
    runs = SegmentRuns(ids)
    assert runs.size == size and runs.ids == ids.unique().tolist()
    assert runs.areas == [int((ids == number).sum()) for number in runs.ids]
    masks = mask_pixels([runs.rle(number) for number in runs.ids], np.arange(size[0]), np.arange(size[1]))
    assert torch.equal(masks, torch.stack([ids == number for number in runs.ids]))
    values = {number: place for place, number in enumerate(runs.ids[1:])}
    exact = torch.full(size, -1, dtype=torch.int16)
    for number, value in values.items():
        exact[ids == number] = value
    replaced = runs.replaced({**values, 99: 5}, -1, np.int16)
    assert replaced.dtype == torch.int16 and replaced.is_contiguous() and torch.equal(replaced, exact)


def test_as_many_segments_as_pixels() -> None:
    """The time of a mask is that of its own runs: looking for them among all took a minute here."""
    ids = torch.arange(300 * 200, dtype=torch.int32).reshape(300, 200)
    runs = SegmentRuns(ids)
    start = time.perf_counter()
    codes = [runs.rle(number) for number in runs.ids]
    assert time.perf_counter() - start < 10
    assert mask_pixels(codes[777:778], np.arange(300), np.arange(200))[0].nonzero().tolist() == [[3, 177]]
