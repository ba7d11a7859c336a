"""The outlines of masks."""

from __future__ import annotations

from typing import cast

import numpy as np
from contourpy import contour_generator


def mask_polygons(mask: np.ndarray) -> list[list[float]]:
    """Closed contour lines half way between the pixels inside and outside of a mask, by marching squares.

    Args:
        mask: [H, W] bool or 0 and 1.

    Returns:
        Polygons [x, y, x, y, ...] in pixels, where the centre of the first pixel is (0.5, 0.5), with those of holes.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    lines = cast(list[np.ndarray], contour_generator(z=padded, line_type="Separate").lines(0.5))
    # the padding shifts pixels by 1, and the centre of a pixel is half a pixel from its corner
    return [(line[:-1] - 0.5).ravel().tolist() for line in lines]
