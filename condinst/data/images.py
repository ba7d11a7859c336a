"""Reading images of any kind as 8-bit RGB tensors."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from condinst.data.image_files import IMAGE_EXTENSIONS as IMAGE_EXTENSIONS
from condinst.data.image_files import list_images as list_images
from condinst.geometry import MOST_PIXELS, tile_slices
from condinst.messages import shorten

ImageSource: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"

_MAX_PIXELS = 178_956_970  # what PIL reads by default; it warns from half of it on

_opening = threading.Lock()

_TILE = 2**16  # pixels that are converted at a time: few enough for the cache of a processor

DEEP_MODES = ("I", "F")
"""How PIL's names of pixels of more than 8 bits begin."""

TURNED = (5, 6, 7, 8)
"""The EXIF orientations that swap height and width."""

Part: TypeAlias = "tuple[tuple[slice, slice], np.ndarray]"
"""A part of a picture, [h, w] or [h, w, C]: its rows and columns, and its pixels."""
Convert: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Makes pixels of 8 bits."""


def max_pixels() -> int:
    """The most pixels that a picture may have, which the environment variable CONDINST_MAX_PIXELS sets.

    Raises:
        ValueError: the variable holds something else than a number of pixels.
    """
    text = os.environ.get("CONDINST_MAX_PIXELS", "")
    if not text:
        return _MAX_PIXELS
    if not text.isdecimal() or len(text) > len(str(MOST_PIXELS)) or not 0 < int(text) <= MOST_PIXELS:
        raise ValueError(
            "environment variable CONDINST_MAX_PIXELS: expected a number of pixels in"
            f" 1..{MOST_PIXELS}, got {shorten(text)}"
        )
    return int(text)


def read_image(source: ImageSource) -> Tensor:
    """Any image as 8-bit RGB.

    Images are turned upright by their EXIF orientation; of an animation or a stack the first frame counts.
    Greyscale, palette, 1-bit and CMYK become RGB; an alpha channel is dropped, as in detectron2. Deeper
    pixels become 8-bit by these rules:

    - 16-bit: value / 257, rounded, so that 65535 gives 255. (PIL itself reads 16-bit colour as value // 256.)
    - 32-bit integers: like 16-bit if all lie in 0..65535, else stretched, their range becoming 0..255.
    - floats: times 255 if all lie in 0..1, as they are if all lie in 0..255, else stretched.

    Above the result, at most six bytes of memory are taken for each pixel: for PIL's own picture, and for a part of it
    at a time. The decoders of WebP, AVIF, JPEG 2000 and progressive JPEG take more while they read a file. That
    of PNG holds one row of the file, which counts where a picture has no other.

    Args:
        source: a file, a PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W]; C is 1, 3 (RGB, not
            OpenCV's BGR) or 4 (RGB and alpha). Arrays and tensors are bool, uint8, uint16 or floats in 0..1.

    Returns:
        uint8 [3, H, W] on the CPU.

    Raises:
        ValueError: a file that is missing, damaged, no image or of more than `max_pixels` (the message names it); a PIL
            image whose file is damaged or a program; other or no pixels.
        TypeError: `source` is of another type.
    """
    if isinstance(source, Image.Image):
        try:
            _load(source)
        except Exception as error:
            raise _unreadable("image", error) from error
        return _from_pil(source, "image")
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (str, Path)):
        return _from_pil(open_image(Path(source)), str(source))
    raise TypeError(f"image: expected a path, PIL image, array or tensor, got {type(source).__name__}")


def open_image(path: Path) -> Image.Image:
    """The pixels of an image file as PIL has them, not turned upright.

    Raises:
        ValueError: a file that is missing, damaged, no image or of more than `max_pixels`; the message names it.
    """
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        if not path.is_file():
            raise ValueError(f"{path}: expected an image file, got a {'folder' if path.is_dir() else 'device'}")
    except OSError as error:  # a name that the system does not take
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    limit = max_pixels()
    try:
        with _pil_limit(limit):
            image = Image.open(path)
        with image:
            pixels = image.width * image.height
            if pixels > limit:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            with _pil_limit(limit) if pixels > _MAX_PIXELS // 2 else contextlib.nullcontext():
                _load(image)
            return image
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image, or of a format that PIL cannot read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{path}: too large: expected at most {limit} pixels, which the environment variable CONDINST_MAX_PIXELS"
            f" sets: {error}"
        ) from error
    except Exception as error:
        raise _unreadable(str(path), error) from error


@contextlib.contextmanager
def _pil_limit(limit: int) -> Iterator[None]:
    """While it runs, PIL reads pictures of up to `limit` pixels without a warning; one thread at a time."""
    with _opening:  # PIL's limit is a global one
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = limit
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def unlimited_pil() -> contextlib.AbstractContextManager[None]:
    """While it is entered, PIL opens pictures of any size that this package knows, without a warning."""
    return _pil_limit(MOST_PIXELS)


def _load(image: Image.Image) -> None:
    """Decodes an image that was opened only, unless it is a program."""
    if image.format == "EPS" and getattr(image, "tile", None):
        raise ValueError("a PostScript file is a program, and is not run")
    image.load()


def _unreadable(name: str, error: Exception) -> ValueError:
    """The error on an image that PIL cannot decode; its decoders raise whatever they stumble over."""
    if isinstance(error, MemoryError):
        return ValueError(f"{name}: not enough memory for this image")
    return ValueError(f"{name}: damaged or unreadable image: {error}")


def tiles(image: Image.Image) -> Iterator[tuple[tuple[slice, slice], Image.Image]]:
    """The parts of an image, with their rows and columns. What is made of so few pixels takes little memory."""
    for rows, columns in tile_slices(image.height, image.width, _TILE):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        yield (rows, columns), image if box == (0, 0, *image.size) else image.crop(box)


def orientation_of(image: Image.Image) -> object:
    """The EXIF orientation; 1 is upright."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # PIL's parser raises whatever it stumbles over; damaged EXIF must not cost the picture
        return 1


def _stored(upright: np.ndarray, orientation: object) -> np.ndarray:
    """A view of an upright picture [3, H, W] in which the pixels lie as in a file with this orientation."""
    if orientation in TURNED:
        upright = upright.transpose(0, 2, 1)
    if orientation in (3, 4, 6, 7):
        upright = upright[:, ::-1]
    return upright[:, :, ::-1] if orientation in (2, 3, 7, 8) else upright


def _from_pil(image: Image.Image, name: str) -> Tensor:
    width, height = image.size
    if not width or not height:
        raise ValueError(f"{name}: expected at least one pixel, got {width} x {height}")

    def parts() -> Iterator[Part]:
        return ((place, np.asarray(_as_rgb(tile, name))) for place, tile in tiles(image))

    orientation = orientation_of(image)
    result = np.empty((3, width, height) if orientation in TURNED else (3, height, width), np.uint8)
    convert = None
    if image.mode.startswith(DEEP_MODES):
        convert = _deep_rule(parts(), name, floating=image.mode.startswith("F"))
    _fill(_stored(result, orientation), parts(), convert)
    return torch.from_numpy(result)


def _as_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image with one, three or four 8-bit channels, or deep pixels as they are."""
    if image.mode.startswith(DEEP_MODES) or image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")  # PIL warns when such a palette goes to RGB at once
    try:
        return image.convert("L" if image.mode == "1" else "RGB")
    except ValueError as error:
        raise ValueError(f"{name}: pixels of mode {image.mode} cannot become RGB: {error}") from error


def _from_array(pixels: np.ndarray) -> Tensor:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return _from_parts(pixels.shape, lambda place: pixels[place])


def _from_tensor(tensor: Tensor) -> Tensor:
    if tensor.ndim != 3:
        raise ValueError(f"image: expected a tensor [C, H, W], got shape {list(tensor.shape)}")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise ValueError("image: expected a dense tensor with values, got a sparse, quantised or meta one")
    channels_last = tensor.detach().permute(1, 2, 0)

    def take(place: tuple[slice, slice]) -> np.ndarray:
        part = channels_last[place].cpu()
        return (part.float() if part.is_floating_point() else part).numpy()

    return _from_parts(channels_last.shape, take)


def _from_parts(shape: Sequence[int], take: Callable[[tuple[slice, slice]], np.ndarray]) -> Tensor:
    """The picture of the parts that `take` gives, for an array or tensor [H, W, C]."""
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or 0 in shape:
        raise ValueError(
            "image: expected [H, W] or [H, W, C] (a tensor: [C, H, W]) with at least one pixel and 1, 3 or 4"
            f" channels, got height, width and channels {list(shape)}"
        )
    height, width, _ = shape

    def parts() -> Iterator[Part]:
        return ((place, take(place)[:, :, :3]) for place in tile_slices(height, width, _TILE))

    dtype = take((slice(0, 1), slice(0, 1))).dtype
    convert: Convert | None = None
    if dtype == np.bool_:
        convert = _from_bool
    elif dtype == np.uint16:
        convert = _deep_rule(parts(), "image", floating=False)
    elif np.issubdtype(dtype, np.floating):
        low, high = _value_range(parts())
        if not (low >= 0 and high <= 1):  # written so that NaN is refused too
            raise ValueError(f"image: expected floats in 0..1, got {low:.4g}..{high:.4g}")
        convert = _scale(255)
    elif dtype != np.uint8:
        raise ValueError(f"image: expected bool, uint8, uint16 or floats in 0..1, got {dtype}")
    result = np.empty((3, height, width), np.uint8)
    _fill(result, parts(), convert)
    return torch.from_numpy(result)


def _fill(result: np.ndarray, parts: Iterable[Part], convert: Convert | None) -> None:
    """Writes parts [h, w] or [h, w, C] of a picture, of which 3 channels count, into uint8 [3, H, W]."""
    for (rows, columns), pixels in parts:
        if convert is not None:
            pixels = convert(pixels)
        result[:, rows, columns] = pixels if pixels.ndim == 2 else pixels[:, :, :3].transpose(2, 0, 1)


def _value_range(parts: Iterable[Part]) -> tuple[float, float]:
    """The lowest and highest value; NaN where there is one."""
    bounds = np.array([(pixels.min(), pixels.max()) for _, pixels in parts], dtype=np.float64)
    return float(bounds[:, 0].min()), float(bounds[:, 1].max())


def _deep_rule(parts: Iterable[Part], name: str, *, floating: bool) -> Convert:
    """How deep pixels, integers or floats, become 8-bit by the rules of `read_image`."""
    low, high = _value_range(parts)
    if not math.isfinite(high - low):
        raise ValueError(f"{name}: expected finite pixel values, got NaN or infinity")
    if low >= 0 and high <= (1 if floating else 65535):
        return _scale(255 if floating else 1 / 257)
    if floating and low >= 0 and high <= 255:
        return _scale(1)
    return _stretch(low, high)


def _scale(factor: float) -> Convert:
    def convert(pixels: np.ndarray) -> np.ndarray:
        values = pixels.astype(np.float64)
        values *= factor
        return _round(values)

    return convert


def _stretch(low: float, high: float) -> Convert:
    def convert(pixels: np.ndarray) -> np.ndarray:
        values = pixels.astype(np.float64)
        values -= low
        values *= 255
        values /= (high - low) or 1
        return _round(values)

    return convert


def _from_bool(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint8) * np.uint8(255)


def _round(values: np.ndarray) -> np.ndarray:
    """As uint8; the values are lost."""
    return np.rint(values, out=values).astype(np.uint8)
