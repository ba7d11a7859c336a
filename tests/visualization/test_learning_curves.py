"""The course of a training as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condinst.visualization import save_learning_curves


def write_log(folder: Path, factor: float) -> Path:
    folder.mkdir()
    rows = [f"{step},{factor / step},{factor / step / 2}" for step in (1, 2, 3)]
    (folder / "log.csv").write_text("\n".join(["step,loss,loss_mask", *rows]) + "\n")
    (folder / "validation.csv").write_text("step,mask_AP,box_AP\n1,0.1,0.2\n3,0.3,\n")
    return folder


def test_curves_of_one_and_of_several_runs(tmp_path: Path) -> None:
    first, second = write_log(tmp_path / "a", 1), write_log(tmp_path / "b", 7)
    pictures = []
    for name, runs in (("one", {"a": first}), ("both", {"a": first, "b": second})):
        path = tmp_path / "pictures" / f"{name}.png"
        save_learning_curves(runs, path)
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a log\.csv with rows in .*nothing"):
        save_learning_curves({"a": tmp_path / "nothing"}, tmp_path / "a.png")
