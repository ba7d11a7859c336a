"""The contact sheet of `condinst explain`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.visualization import draw_explanation
from condinst.visualization.explain import _resized, _window

IMAGE = torch.full((3, 100, 200), 128, dtype=torch.uint8)


def _sheet(box: torch.Tensor | None, channels: int) -> Image.Image:
    masks = [(name, torch.linspace(-8, 8, 25 * 50).reshape(25, 50)) for name in ("a", "b", "c")]
    rows = [("layer", torch.randn(channels, 13, 25)), ("logits", torch.zeros(1, 13, 25))]
    return draw_explanation(IMAGE, "disc 0.93", box, torch.tensor([100.0, 52.0]), masks, 4, rows, 8)


@pytest.mark.parametrize("box", [None, torch.tensor([90.0, 40, 110, 60]), torch.tensor([-5.0, -5, 3, 2])])
def test_sheet(box: torch.Tensor | None) -> None:
    few, many = _sheet(box, 8), _sheet(box, 9)
    assert few.mode == "RGB" and many.height > few.height and many.width == few.width
    assert len(np.unique(np.asarray(few).reshape(-1, 3), axis=0)) > 100


def test_window_has_neighbours_and_lies_in_the_image() -> None:
    assert _window(IMAGE, None) == (0, 0, 200, 100)
    assert _window(IMAGE, torch.tensor([90.0, 40, 110, 60])) == (68, 18, 133, 83)
    assert _window(IMAGE, torch.tensor([-5.0, -5, 3, 2])) == (0, 0, 33, 33)
    assert _window(IMAGE, torch.tensor([0.0, 0, 200, 100])) == (0, 0, 200, 100)


def test_maps_lie_where_their_cells_do() -> None:
    cells = torch.zeros(4, 6)
    cells[1, 2] = 1.0  # at (20, 12) of the image
    pixels = _resized(cells, 8, (0, 0, 48, 32), (48, 32))
    assert pixels.shape == (32, 48)
    rows, columns = np.nonzero(pixels > 0.85)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == (12, 20)
