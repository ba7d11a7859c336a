from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condinst.data.panoptic_png import read_instance_ids, read_segment_ids, write_segment_ids


def test_ids_are_numbers_to_the_base_256_red_lowest(tmp_path: Path) -> None:
    pixels = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 0, 0], [7, 2, 255], [255, 255, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ids = read_segment_ids(tmp_path / "a.png")
    assert ids.dtype == torch.int32
    assert ids.tolist() == [[1, 256, 65536], [0, 7 + 2 * 256 + 255 * 65536, 256**3 - 1]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_writing_and_reading(tmp_path: Path, dtype: torch.dtype) -> None:
    ids = torch.randint(256**3, (13, 7), generator=torch.Generator().manual_seed(0), dtype=dtype)
    ids[0, 0], ids[0, 1] = 0, 256**3 - 1
    write_segment_ids(ids, tmp_path / "a.png")
    assert torch.equal(read_segment_ids(tmp_path / "a.png"), ids.int())


def test_one_channel_holds_the_number_itself(tmp_path: Path) -> None:
    ids = np.array([[0, 24, 26_001], [33_012, 65_535, 7]])
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(ids.astype(np.int32)).save(tmp_path / "a.tif")
    Image.fromarray((ids % 256).astype(np.uint8)).save(tmp_path / "b.png")
    for read in (read_segment_ids, read_instance_ids):
        assert read(tmp_path / "a.png").tolist() == ids.tolist()
        assert read(tmp_path / "a.tif").tolist() == ids.tolist()
        assert read(tmp_path / "b.png").tolist() == (ids % 256).tolist()
        assert read(tmp_path / "b.png").dtype == torch.int32


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        read_segment_ids(tmp_path / "none.png")
    with pytest.raises(ValueError, match="got a folder"):
        read_segment_ids(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: not an image"):
        read_segment_ids(tmp_path / "text.png")
    noise = torch.randint(256**3, (50, 50), generator=torch.Generator().manual_seed(0))
    write_segment_ids(noise, tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.png: damaged"):
        read_segment_ids(tmp_path / "cut.png")


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "1"])
def test_other_channels_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"a\.png: expected an RGB image or one of a single channel, got mode {mode}"):
        read_segment_ids(tmp_path / "a.png")


def test_instance_ids_have_one_channel(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected one number per pixel"):
        read_instance_ids(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(1, 2, 3, dtype=torch.int32), r"expected integers \[H, W\]"),
        (torch.zeros(2, 3), "expected integers"),
        (torch.zeros(0, 3, dtype=torch.int32), "expected integers"),
        (torch.full((2, 3), -1), r"expected 0\.\.16777215, got -1"),
        (torch.full((2, 3), 256**3), r"expected 0\.\.16777215, got 16777216"),
    ],
)
def test_ids_that_cannot_be_written(tmp_path: Path, ids: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"ids: {message}"):
        write_segment_ids(ids, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
