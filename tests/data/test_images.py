"""Every kind of image file becomes 8-bit RGB, and every broken one an error with its name."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from condinst.data import images
from condinst.data.images import list_images, max_pixels, read_image


def _ramp(height: int = 6, width: int = 9) -> np.ndarray:
    """uint8 [height, width, 3] with a different value everywhere."""
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def _write(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def _pixels(source: object) -> np.ndarray:
    """What `read_image` makes of a source, as [H, W, 3]."""
    tensor = read_image(source)  # type: ignore[arg-type]
    assert tensor.dtype == torch.uint8 and tensor.is_contiguous()
    assert tensor.ndim == 3 and tensor.shape[0] == 3
    return tensor.permute(1, 2, 0).numpy()


def test_rgb_file_is_read_exactly(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.png", Image.fromarray(_ramp()))
    np.testing.assert_array_equal(_pixels(path), _ramp())
    np.testing.assert_array_equal(_pixels(str(path)), _ramp())
    np.testing.assert_array_equal(_pixels(Image.open(path)), _ramp())


def test_jpeg_is_what_pil_decodes(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jpg", Image.fromarray(_ramp(40, 50)))
    np.testing.assert_array_equal(_pixels(path), np.asarray(Image.open(path)))


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_to_8_bit(tmp_path: Path, extension: str) -> None:
    values = np.array([[0, 128, 129], [257, 32896, 65535]], dtype=np.uint16)
    path = _write(tmp_path / f"a.{extension}", Image.fromarray(values))
    expected = np.array([[0, 0, 1], [1, 128, 255]])  # value / 257, rounded
    for channel in range(3):
        np.testing.assert_array_equal(_pixels(path)[:, :, channel], expected)


def test_16_bit_big_endian_grey() -> None:
    values = np.array([[0, 257, 65535]], dtype=">u2")
    np.testing.assert_array_equal(_pixels(Image.fromarray(values))[0, :, 0], [0, 1, 255])


def test_16_bit_colour_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png_16_bit_colour(_ramp().astype(np.uint16) * 257))
    np.testing.assert_array_equal(_pixels(path), _ramp())


def test_32_bit_integers(tmp_path: Path) -> None:
    narrow = _write(tmp_path / "narrow.tif", Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32)))
    np.testing.assert_array_equal(_pixels(narrow)[0, :, 0], [0, 1, 255])
    wide = _write(tmp_path / "wide.tif", Image.fromarray(np.array([[-100, 0, 100_000]], dtype=np.int32)))
    np.testing.assert_array_equal(_pixels(wide)[0, :, 0], [0, 0, 255])
    constant = Image.fromarray(np.full((2, 2), -7, dtype=np.int32))
    assert not _pixels(constant).any()


def test_floats(tmp_path: Path) -> None:
    def read(values: list[float]) -> list[int]:
        path = _write(tmp_path / "a.tif", Image.fromarray(np.array([values], dtype=np.float32)))
        return _pixels(path)[0, :, 0].tolist()

    assert read([0, 0.5, 1]) == [0, 128, 255]
    assert read([0, 7.4, 255]) == [0, 7, 255]
    assert read([-1, 0, 1]) == [0, 128, 255]
    assert read([0, 500, 1000]) == [0, 128, 255]
    with pytest.raises(ValueError, match=r"a\.tif: expected finite"):
        read([0, float("nan"), 1])


def test_grey_1_bit_and_alpha() -> None:
    grey = _ramp()[:, :, 0]
    np.testing.assert_array_equal(_pixels(Image.fromarray(grey)), np.stack([grey] * 3, axis=2))
    bits = grey > 20
    np.testing.assert_array_equal(_pixels(Image.fromarray(bits))[:, :, 1], bits * 255)
    with_alpha = Image.fromarray(np.dstack([grey, 255 - grey]))
    assert with_alpha.mode == "LA"
    np.testing.assert_array_equal(_pixels(with_alpha)[:, :, 2], grey)
    transparent = Image.fromarray(np.dstack([_ramp(), grey]))
    assert transparent.mode == "RGBA"
    np.testing.assert_array_equal(_pixels(transparent), _ramp())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 100, 255, 255])])
def test_palette(tmp_path: Path, transparency: int | bytes | None) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], dtype=np.uint8)
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8)).convert("P")
    image.putpalette(colours.tobytes())
    indices = np.asarray(image)
    options = {} if transparency is None else {"transparency": transparency}
    path = _write(tmp_path / "a.png", image, **options)
    with Image.open(path) as stored:
        assert stored.mode == "P"
    np.testing.assert_array_equal(_pixels(path), colours[indices])


def test_cmyk(tmp_path: Path) -> None:
    colour = Image.new("RGB", (16, 16), (200, 30, 90))
    for name in ("a.jpg", "a.tif"):
        path = _write(tmp_path / name, colour.convert("CMYK"))
        with Image.open(path) as stored:
            assert stored.mode == "CMYK"
        assert np.abs(_pixels(path).astype(int) - [200, 30, 90]).max() <= 4


@pytest.mark.parametrize("mode", ["YCbCr", "HSV"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.new("RGB", (4, 4), (200, 30, 90)).convert(mode)
    assert np.abs(_pixels(image).astype(int) - [200, 30, 90]).max() <= 4


@pytest.mark.parametrize("extension", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_images_are_turned_upright(tmp_path: Path, orientation: int, extension: str) -> None:
    upright = np.zeros((16, 24, 3), dtype=np.uint8)
    upright[:8, :8] = (255, 0, 0)  # top left
    upright[:8, 16:] = (0, 255, 0)  # top right
    upright[8:, :8] = (0, 0, 255)  # bottom left
    # How the camera stores an upright scene, by the EXIF standard's table of "0th row" and "0th column".
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if extension == "jpg" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = _write(tmp_path / f"a.{extension}", image, exif=exif.tobytes(), **options)
    got = _pixels(path)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).max() <= 8  # JPEG


def test_16_bit_image_is_turned_upright_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    path = _write(tmp_path / "a.png", Image.fromarray(values), exif=exif.tobytes())
    np.testing.assert_array_equal(_pixels(path)[:, :, 0], np.rot90(np.arange(6).reshape(2, 3), -1))


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.png", Image.fromarray(_ramp()), exif=b"Exif\0\0" + b"junk" * 10)
    np.testing.assert_array_equal(_pixels(path), _ramp())


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    path = _write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (_pixels(path) == [255, 0, 0]).all()


def test_arrays_and_tensors() -> None:
    ramp = _ramp()
    tensor = torch.from_numpy(ramp).permute(2, 0, 1)
    np.testing.assert_array_equal(_pixels(ramp), ramp)
    np.testing.assert_array_equal(_pixels(ramp[:, ::-1]), ramp[:, ::-1])
    np.testing.assert_array_equal(_pixels(ramp.astype(np.uint16) * 257), ramp)
    np.testing.assert_array_equal(_pixels(ramp[:, :, 0]), np.stack([ramp[:, :, 0]] * 3, axis=2))
    np.testing.assert_array_equal(_pixels(np.dstack([ramp, ramp[:, :, 0]])), ramp)
    np.testing.assert_array_equal(_pixels(ramp > 50), (ramp > 50) * 255)
    np.testing.assert_array_equal(_pixels(tensor), ramp)
    np.testing.assert_array_equal(_pixels(tensor.float() / 255), ramp)
    np.testing.assert_array_equal(_pixels(tensor[:1]), np.stack([ramp[:, :, 0]] * 3, axis=2))
    assert np.abs(_pixels((tensor / 255).bfloat16()).astype(int) - ramp).max() <= 1


def test_the_result_shares_no_memory_with_its_source() -> None:
    ramp = _ramp()
    read_image(ramp).zero_()
    np.testing.assert_array_equal(ramp, _ramp())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"channels \[4, 5, 2\]"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (torch.zeros(4, 5), r"expected a tensor \[C, H, W\]"),
        (torch.zeros(5, 4, 3), "1, 3 or 4 channels"),
        (torch.full((3, 4, 5), 200.0), r"expected floats in 0\.\.1, got 200"),
        (torch.full((3, 4, 5), float("nan")), r"expected floats in 0\.\.1, got nan"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "got int64"),
        (Image.new("RGB", (0, 3)), "at least one pixel"),
        (Image.new("La", (2, 3)), "mode La cannot become RGB"),
        (torch.eye(3).to_sparse()[None], "expected a dense tensor with values"),
        (torch.zeros(3, 4, 5, device="meta"), "expected a dense tensor with values"),
        (np.zeros((4, 5, 3), object), "got object"),
    ],
)
def test_wrong_arrays(source: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(source)  # type: ignore[arg-type]


def test_wrong_type() -> None:
    with pytest.raises(TypeError, match="got int"):
        read_image(3)  # type: ignore[arg-type]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.jpg: no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="got a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0" * 9])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.jpg: "):
        read_image(path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "bmp", "gif", "webp", "ppm"])
def test_truncated_image(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    path = tmp_path / f"cut.{kind}"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
        with pytest.raises(ValueError, match=rf"cut\.{kind}: "):
            read_image(path)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "bomb.png", Image.new("L", (200, 200)))
    monkeypatch.setenv("CONDINST_MAX_PIXELS", "1000")
    with pytest.raises(ValueError, match=r"bomb\.png: too large"):
        read_image(path)


PICTURES = {
    **{f"{mode}.png": mode for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    **{f"{mode}.tif": mode for mode in ("CMYK", "RGB", "I;16", "I", "F", "L")},
    **{f"{mode}.jpg": mode for mode in ("L", "RGB", "CMYK")},
    **{"RGB.bmp": "RGB", "P.gif": "P", "RGB.ppm": "RGB"},
}


def _picture(mode: str, height: int, width: int) -> Image.Image:
    """A picture with other pixels everywhere, in one of PIL's modes."""
    ramp = np.arange(height * width, dtype=np.float64).reshape(height, width)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray((ramp % 65536).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    channels = np.stack([ramp % 256, ramp // 7 % 256, ramp // width % 256], axis=2)
    return Image.fromarray(channels.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(("orientation", "tile"), [(1, 150), (2, 16), (6, 16), (7, 150)])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_parts_is_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, orientation: int, tile: int
) -> None:
    """What PIL makes of a whole picture, turned as a whole."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if name.endswith((".bmp", ".gif", ".ppm")) else {"exif": exif.tobytes()}
    path = _write(tmp_path / name, _picture(PICTURES[name], 41, 41), **options)
    monkeypatch.setattr(images, "_TILE", tile)
    with Image.open(path) as stored:
        turned = ImageOps.exif_transpose(stored)
    if turned.mode in ("I;16", "I", "F"):  # small numbers: as 16 bits, or as they are between 0 and 255
        values = np.asarray(turned).astype(np.float64)
        values = (values - values.min()) * 255 / (values.max() - values.min()) if turned.mode == "F" else values / 257
        expected = np.repeat(np.rint(values).astype(np.uint8)[:, :, None], 3, axis=2)
    else:
        expected = np.asarray(turned.convert("RGB"))
    np.testing.assert_array_equal(_pixels(path), expected)


@pytest.mark.parametrize("tile", [100, 7])
def test_arrays_and_tensors_in_parts(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    ramp = _ramp(40, 30)
    monkeypatch.setattr(images, "_TILE", tile)
    for source in (ramp, ramp / 255, ramp.astype(np.uint16) * 257, torch.from_numpy(ramp.transpose(2, 0, 1)) / 255):
        np.testing.assert_array_equal(_pixels(source), ramp)
    with pytest.raises(ValueError, match=r"expected floats in 0\.\.1, got 0\.\.255"):
        read_image(ramp.astype(np.float32))


def memory_of_reading(folder: str) -> None:
    """Prints the bytes of memory for each pixel that reading each picture of a folder takes above the result."""
    status = Path("/proc/self/status")

    def memory(name: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) << 10

    for path in sorted(Path(folder).iterdir()):
        read_image(path.parents[1] / "small" / path.name)  # PIL loads what it needs for this kind
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = memory("VmRSS")
        result = read_image(path)
        print(path.name, (memory("VmHWM") - before - result.nbytes) / (result.nbytes / 3))
        del result


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is asked of Linux")
def test_memory_of_a_picture(tmp_path: Path) -> None:
    """At most six bytes a pixel above the result; as whole arrays, deep pixels took thirty."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder, side in (("small", 20), ("large", 1500)):
        (tmp_path / folder).mkdir()
        for name, mode in PICTURES.items():
            _write(tmp_path / folder / name, _picture(mode, side, side))
        _write(tmp_path / folder / "turned.jpg", _picture("RGB", side, side), exif=exif.tobytes())
        _write(tmp_path / folder / "turned.png", _picture("I;16", side, side), exif=exif.tobytes())
        for height in (1, 2):
            for mode in ("RGB", "L", "I;16"):
                _write(tmp_path / folder / f"{height}_{mode}.png", _picture(mode, height, side * side // height))
            _write(tmp_path / folder / f"{height}_F.tif", _picture("F", height, side * side // height))
    code = "import sys; from tests.data.test_images import memory_of_reading; memory_of_reading(sys.argv[1])"
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path / "large"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},  # what is freed goes back to the system
    )
    found = {line.split()[0]: float(line.split()[1]) for line in output.stdout.splitlines()}
    assert len(found) == len(PICTURES) + 10
    assert found.pop("1_RGB.png") < 7.5  # PIL's own four bytes, and three for the row in its decoder
    assert max(found.values()) < 6, found
    assert found["RGB.png"] > 3.5  # PIL's own pixels of four bytes, so that something was measured


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_limit_of_pixels_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """PIL's own limit has no effect, and stays as it was."""
    path = _write(tmp_path / name, Image.new("L", (201, 199)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(images, "_MAX_PIXELS", 2)
    for limit in ("39999", "60000"):
        monkeypatch.setenv("CONDINST_MAX_PIXELS", limit)
        assert max_pixels() == int(limit) and read_image(path).shape == (3, 199, 201)
    for limit in ("39998", "5"):
        monkeypatch.setenv("CONDINST_MAX_PIXELS", limit)
        with pytest.raises(ValueError, match=rf"{name}: too large: expected at most {limit} pixels, .* CONDINST_MAX_P"):
            read_image(path)
    assert Image.MAX_IMAGE_PIXELS == 1


@pytest.mark.parametrize("wrong", ["many", "-1", "0", "9" * 5000])
def test_a_wrong_limit_of_pixels_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    path = _write(tmp_path / "a.png", Image.new("L", (20, 20)))
    monkeypatch.setenv("CONDINST_MAX_PIXELS", wrong)
    with pytest.raises(ValueError, match=r"CONDINST_MAX_PIXELS: expected a number of pixels in 1\.\.2147483647"):
        read_image(path)


def test_importing_leaves_pil_as_it_is() -> None:
    code = "from PIL import Image as I; I.MAX_IMAGE_PIXELS = 7; import condinst.data.images; print(I.MAX_IMAGE_PIXELS)"
    environment = {**os.environ, "CONDINST_MAX_PIXELS": "many"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "7\n", done.stderr


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg"])
def test_a_damaged_file_that_pil_has_opened(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    with pytest.raises(ValueError, match="image: damaged or unreadable image: "):
        read_image(Image.open(io.BytesIO(buffer.getvalue()[: len(buffer.getvalue()) * 9 // 10])))


def test_a_program_is_no_picture(tmp_path: Path) -> None:
    """PIL runs Ghostscript on PostScript, whatever the ending of the file."""
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(ValueError, match=r"a\.png: .*PostScript file is a program"):
        read_image(path)
    with pytest.raises(ValueError, match=r"image: .*PostScript file is a program"), Image.open(path) as opened:
        read_image(opened)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        read_image(tmp_path / ("x" * 5000))
    with pytest.raises(ValueError, match="no such file"):
        read_image(tmp_path / "a\0b")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    with pytest.raises(ValueError, match="expected an image file, got a device"):
        read_image(tmp_path / "pipe.png")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "note.txt", ".hidden.png", "c.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inner.png").touch()
    files = [tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "c.tiff"]
    assert list_images([tmp_path]) == files
    note, missing = tmp_path / "note.txt", tmp_path / "missing.jpg"
    assert list_images([str(note), tmp_path, missing, files[0]]) == [note, *files, missing]


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "note.txt").touch()
    with pytest.raises(ValueError, match="no images in this folder"):
        list_images([tmp_path])


def _png_16_bit_colour(pixels: np.ndarray) -> bytes:
    """A PNG of uint16 [H, W, 3], which PIL can read but not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
