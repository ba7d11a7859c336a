"""The image files that a user means: files, folders, and patterns with wildcards."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

IMAGE_EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tif", ".tiff", ".webp"}
)
"""Endings, in lower case, of the files that `list_images` takes from a folder."""

_SEVERAL_FRAMES = frozenset({".avif", ".gif", ".png", ".tif", ".tiff", ".webp"})

Problem = tuple[Path, str]
"""A path, and why there is no image under it."""


def list_images(
    paths: Iterable[str | Path], *, recursive: bool = False, problems: list[Problem] | None = None
) -> list[Path]:
    """The image files that paths stand for.

    Args:
        paths: files, folders and patterns with * ? [] and ** (a name with these characters that exists is that file).
            Files are kept whatever their name and whether they exist or not. Of a folder the files with one of
            `IMAGE_EXTENSIONS` are taken, sorted by name; not hidden ones.
        recursive: take the files of the folders below, too.
        problems: gets the paths without images, and the folders that cannot be read. Without it the first is an error.

    Returns:
        Files in the order of `paths`, each once.

    Raises:
        ValueError: a path without images, without `problems`.
    """
    image_files: list[Path] = []
    noted: list[Problem] = [] if problems is None else problems
    for path in map(Path, paths):
        if os.path.isdir(path):
            inside = list(_images_below(path, recursive, noted))
            if not inside and all(folder != path for folder, _ in noted):
                below = "" if recursive else "; --recursive looks into the folders below"
                noted.append((path, f"no images in this folder ({' '.join(sorted(IMAGE_EXTENSIONS))}){below}"))
            image_files += inside
        elif str(path) == "-":
            noted.append((path, "expected files and folders; images from standard input are not read"))
        elif glob.has_magic(str(path)) and not os.path.lexists(path):
            matches = sorted(glob.glob(str(path), recursive=True))
            files = [Path(match) for match in matches if _is_image_name(os.path.basename(match))]
            if not files:
                noted.append((path, "no image file has a name of this pattern"))
            image_files += files
        else:
            image_files.append(path)
        if noted and problems is None:
            raise ValueError(f"{noted[0][0]}: {noted[0][1]}")
    return list(dict.fromkeys(image_files))


def _images_below(folder: Path, recursive: bool, problems: list[Problem]) -> Iterator[Path]:
    """The images of a folder by name, then those of the folders in it; links to folders are not followed."""

    def note(error: OSError) -> None:
        problems.append((Path(error.filename), f"cannot be read: {error.strerror}"))

    for root, folders, names in os.walk(folder, onerror=note):
        folders.sort()
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(root, name) for name in sorted(names) if _is_image_name(name))


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_EXTENSIONS and not name.startswith(".")


def count_frames(path: Path) -> int:
    """The pictures in a file that `read_image` can read, of which it takes the first; 1 where this is not known."""
    if path.suffix.lower() not in _SEVERAL_FRAMES:
        return 1
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # PIL's decoders raise whatever they stumble over, and the picture has been read
        return 1
