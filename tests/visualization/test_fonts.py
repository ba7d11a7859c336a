"""Names in other scripts: written, or replaced by the label."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from condinst.visualization import draw_predictions
from condinst.visualization.fonts import _fonts, legible


@pytest.mark.parametrize("name", ["cat", "Käfer", "naïve (2)", ":car:", "[red]"])
def test_latin_names_stay(name: str) -> None:
    assert legible(name, 3) == name


@pytest.mark.parametrize("name", ["кошка", "γάτα"])
def test_scripts_of_dejavu(name: str) -> None:
    pytest.importorskip("matplotlib")
    assert legible(name, 3) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [("人", r"3 (\u4eba)"), ("人犬", r"3 (\u4eba\u72ac)"), ("人犬猫", r"3 (\u4eba\u72ac...)"), ("a\x00", r"3 (a\x00)")],
)
def test_other_names_become_their_label(name: str, written: str) -> None:
    assert legible(name, 3) == written


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _fonts.cache_clear()
    assert len(_fonts(16)) == 1
    _fonts.cache_clear()


def test_line_ends_become_spaces() -> None:
    assert legible("two\nlines\t here", 0) == "two lines here"


def test_names_of_one_length_differ_in_overlays() -> None:
    image, masks = torch.zeros(3, 120, 300, dtype=torch.uint8), torch.zeros(1, 120, 300, dtype=torch.bool)
    boxes, labels = torch.tensor([[20.0, 40, 250, 110]]), torch.tensor([0])
    pictures = [np.asarray(draw_predictions(image, boxes, labels, None, masks, (name,))) for name in "人犬жф"]
    assert len({picture.tobytes() for picture in pictures}) == 4
