"""Images of segment ids as runs: the masks of all segments in one pass over the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from condinst.data.rles import Rle


class SegmentRuns:
    """The runs of equal ids down the columns of an image. A mask for each segment would take far longer.

    Args:
        ids: integers [H, W], H and W at least 1.

    Attributes:
        ids: the ids that occur, ascending.
        areas: their pixels.
        size: (H, W).
    """

    def __init__(self, ids: Tensor) -> None:
        height, width = ids.shape
        pixels = ids.numpy().T.ravel()
        self._begins = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
        self._ends = np.append(self._begins[1:], pixels.size)
        unique_ids, self._owners = np.unique(pixels[self._begins], return_inverse=True)
        areas = np.bincount(self._owners, weights=self._ends - self._begins)
        self.ids: list[int] = unique_ids.tolist()
        self.areas: list[int] = areas.astype(np.int64).tolist()
        self.size = (height, width)
        # the runs of each id one after the other, so that a mask takes time for its own runs only
        self._by_owner = np.argsort(self._owners, kind="stable")
        self._first = np.concatenate([[0], np.cumsum(np.bincount(self._owners))])
        self._position = {number: position for position, number in enumerate(self.ids)}

    def rle(self, number: int) -> Rle:
        """The mask of an id that occurs, as compressed run lengths."""
        position = self._position[number]
        runs = self._by_owner[self._first[position] : self._first[position + 1]]
        changes = np.stack([self._begins[runs], self._ends[runs]], axis=1).ravel()
        counts = np.diff(np.concatenate([[0], changes, [self._ends[-1]]])).tolist()
        return coco_mask.frPyObjects({"size": list(self.size), "counts": counts}, *self.size)

    def replaced(self, values: Mapping[int, int], other: int, dtype: Any) -> Tensor:
        """The image with other numbers.

        Args:
            values: a number for each id,
            other: and the one for all other ids.
            dtype: NumPy's, of the result.

        Returns:
            [H, W] of `dtype`.
        """
        of_id = np.array([values.get(number, other) for number in self.ids], dtype=dtype)
        pixels = np.repeat(of_id[self._owners], self._ends - self._begins)
        return torch.from_numpy(np.ascontiguousarray(pixels.reshape(self.size[::-1]).T))
