"""Reading images of any kind as 8-bit RGB tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

ImageSource: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"

IMAGE_EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of the files that `list_images` takes from a folder."""

_EXIF_TRANSPOSES: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: ImageSource) -> Tensor:
    """Any image as 8-bit RGB.

    Images are turned upright by their EXIF orientation; of an animation or a stack the first frame counts.
    Greyscale, palette, 1-bit and CMYK become RGB; an alpha channel is dropped, as in detectron2. Deeper
    pixels become 8-bit by these rules:

    - 16-bit: value / 257, rounded, so that 65535 gives 255. (PIL itself reads 16-bit colour as value // 256.)
    - 32-bit integers: like 16-bit if all lie in 0..65535, else stretched, their range becoming 0..255.
    - floats: times 255 if all lie in 0..1, as they are if all lie in 0..255, else stretched.

    Args:
        source: a file, a PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W]; C is 1, 3 (RGB, not
            OpenCV's BGR) or 4 (RGB and alpha). Arrays and tensors are bool, uint8, uint16 or floats in 0..1.

    Returns:
        uint8 [3, H, W] on the CPU.

    Raises:
        ValueError: a file that is missing, damaged or no image (the message names it); other or no pixels.
        TypeError: `source` is of another type.
    """
    if isinstance(source, Image.Image):
        return _from_pil(_upright(source), "image")
    if isinstance(source, Tensor):
        if source.ndim != 3:
            raise ValueError(f"image: expected a tensor [C, H, W], got shape {list(source.shape)}")
        tensor = source.detach().cpu().permute(1, 2, 0)
        return _from_array((tensor.float() if tensor.is_floating_point() else tensor).numpy())
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (str, Path)):
        return _from_file(Path(source))
    raise TypeError(f"image: expected a path, PIL image, array or tensor, got {type(source).__name__}")


def open_image(path: Path, *, upright: bool) -> Image.Image:
    """The pixels of an image file as PIL has them.

    Args:
        path: the file.
        upright: turn it by its EXIF orientation.

    Raises:
        ValueError: a file that is missing, damaged or no image; the message names it.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: expected an image file, got a folder")
    try:
        with Image.open(path) as opened:
            opened.load()
            return _upright(opened) if upright else opened
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image, or of a format that PIL cannot read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: too large: {error}; PIL.Image.MAX_IMAGE_PIXELS sets the limit") from error
    except Exception as error:  # PIL's decoders raise whatever they stumble over: SyntaxError, EOFError ...
        raise ValueError(f"{path}: damaged or unreadable image: {error}") from error


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The image files that paths stand for.

    Args:
        paths: files and folders. Files are kept whatever their name and whether they exist or not. Of a
            folder the files with one of `IMAGE_EXTENSIONS` are taken, sorted by name; not hidden ones, and
            none of the folders below.

    Returns:
        Files in the order of `paths`, each once.

    Raises:
        ValueError: a folder without images.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _is_image_name(file.name) and file.is_file())
            if not inside:
                raise ValueError(f"{path}: no images in this folder ({' '.join(sorted(IMAGE_EXTENSIONS))})")
            files += inside
        else:
            files.append(path)
    return list(dict.fromkeys(files))


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith(".")


def _from_file(path: Path) -> Tensor:
    return _from_pil(open_image(path, upright=True), str(path))


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # PIL's parser raises whatever it stumbles over; damaged EXIF must not cost the picture
        return image
    method = _EXIF_TRANSPOSES.get(orientation)
    return image if method is None else image.transpose(method)


def _from_pil(image: Image.Image, name: str) -> Tensor:
    if min(image.size) == 0:
        raise ValueError(f"{name}: expected at least one pixel, got {image.width} x {image.height}")
    if image.mode.startswith(("I", "F")):
        return _from_grey(_to_8_bit(np.asarray(image), name))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # PIL warns when such a palette goes to RGB at once
    try:
        pixels = np.array(image.convert("RGB"))
    except ValueError as error:
        raise ValueError(f"{name}: pixels of mode {image.mode} cannot become RGB: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _from_array(pixels: np.ndarray) -> Tensor:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        raise ValueError(
            "image: expected [H, W] or [H, W, C] (a tensor: [C, H, W]) with at least one pixel and 1, 3 or 4"
            f" channels, got height, width and channels {list(pixels.shape)}"
        )
    pixels = pixels[:, :, :3]
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype == np.uint16:
        pixels = _to_8_bit(pixels, "image")
    elif np.issubdtype(pixels.dtype, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # written so that NaN is refused too
            raise ValueError(f"image: expected floats in 0..1, got {pixels.min():.4g}..{pixels.max():.4g}")
        pixels = _round(pixels.astype(np.float64) * 255)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"image: expected bool, uint8, uint16 or floats in 0..1, got {pixels.dtype}")
    if pixels.shape[2] == 1:
        return _from_grey(pixels[:, :, 0])
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)).copy())


def _from_grey(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.repeat(pixels[None], 3, axis=0))


def _to_8_bit(pixels: np.ndarray, name: str) -> np.ndarray:
    """Deep pixels of any shape as uint8, by the rules of `read_image`."""
    values = pixels.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite(high - low):
        raise ValueError(f"{name}: expected finite pixel values, got NaN or infinity")
    floating = np.issubdtype(pixels.dtype, np.floating)
    if low >= 0 and high <= (1 if floating else 65535):
        return _round(values * (255 if floating else 1 / 257))
    if floating and low >= 0 and high <= 255:
        return _round(values)
    return _round((values - low) * 255 / ((high - low) or 1))


def _round(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.uint8)
