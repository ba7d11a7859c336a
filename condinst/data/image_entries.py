"""The images of COCO files as different programs write them: their names, sizes and ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from condinst.data.entry_reader import ID, Entry, EntryReader, same_value
from condinst.data.file_names import FILE_NAME, name_from_urls, read_file_name
from condinst.data.ids import Id, check_unique, read_id
from condinst.data.image_headers import read_header
from condinst.geometry import MOST_PIXELS
from condinst.messages import shorten

IMAGES_LEFT_OUT = "images that are left out"
SIZES_FROM_FILES = "images whose size is taken from their file"
OTHER_SIZES = "image sizes that are text or floats"
OTHER_PATHS = "file names that are URLs or have backslashes"

_LONGEST_SIDE = 12  # characters of a side that is text


class ImageEntries:
    """Reads the images of one file.

    Args:
        reader: of the file.
        images_dir: the folder of the images, from whose files missing sizes are taken.

    Attributes:
        left_out: the ids of the images that were left out, as far as they have one.
    """

    def __init__(self, reader: EntryReader, images_dir: Path) -> None:
        self.left_out: set[Id] = set()
        self._reader = reader
        self._images_dir = images_dir
        self._stated_sizes: dict[Id, tuple[Any, Any]] = {}
        self._names_from_urls: set[str] = set()

    def read(self, content: Mapping[str, Any]) -> list[Entry]:
        """The images of the file, each with a name and a size.

        Raises:
            ValueError: there is no list, all entries are bad, or an id is there twice.
        """
        entries = self._reader.entries(content, "images")
        images = []
        for position, entry in enumerate(entries):
            image = self._read_image(position, entry)
            if image is not None:
                images.append(image)
        check_unique(self._reader.path, "images", "id", (image["id"] for image in images))
        self._check_names_from_urls(images)
        images = self._with_sizes(images)
        if entries and not images:
            raise ValueError(f"{self._reader.path}: {self._reader.findings.first_example()}")
        return images

    def _read_image(self, position: int, entry: Any) -> Entry | None:
        """An image whose size may still be missing (0); None if it is left out."""
        place = f"images[{position}]"
        if not isinstance(entry, dict):
            self._leave_out(f"{place}: expected an object with id, file_name, height, width")
            return None
        if "id" not in entry:
            self._leave_out(f"{place}: missing id of a COCO {self._reader.kind} file")
            return None
        number = read_id(entry["id"])
        if number is None:
            self._leave_out(f"{place}: id: expected {ID}, got {shorten(entry['id'])}")
            return None
        name = entry.get("file_name")
        if name is None or name == "":
            stated = shorten(name)
            name = name_from_urls(entry)
            if name is None:
                problem = f"file_name: expected {FILE_NAME}, got {stated}" if "file_name" in entry else ""
                problem = problem or f"missing file_name of a COCO {self._reader.kind} file"
                self._leave_out(f"{place}: {problem}", number)
                return None
        path = read_file_name(name, self._images_dir)
        if path is None:
            self._leave_out(f"{place}: file_name: expected {FILE_NAME}, got {shorten(name)}", number)
            return None
        if path != entry.get("file_name"):
            if path != str(entry.get("file_name")).replace("\\", "/"):
                self._names_from_urls.add(path)
            self._reader.repair(OTHER_PATHS, f"image {shorten(number)}: {shorten(name)}")
        size = {side: self._read_side(number, side, entry.get(side)) for side in ("height", "width")}
        if not _has_size(size):
            self._stated_sizes[number] = entry.get("height"), entry.get("width")
        changed = {"id": number, "file_name": path, **size}
        same = all(entry.get(key) is value or same_value(entry.get(key), value) for key, value in changed.items())
        return entry if same else {**entry, **changed}

    def _read_side(self, number: Id, side: str, value: Any) -> int:
        """Pixels of a side; 0 where they are not known."""
        if type(value) is int:
            return value if value > 0 else 0
        is_whole = isinstance(value, float) and value.is_integer() and 0 < value <= MOST_PIXELS
        is_number = isinstance(value, str) and value.isdecimal() and len(value) < _LONGEST_SIDE
        pixels = int(value) if is_whole or is_number else 0
        if pixels:
            message = f"image {shorten(number)}: {side}: {shorten(value)} is read as {pixels}"
            self._reader.repair(OTHER_SIZES, message)
        return pixels

    def _with_sizes(self, images: list[Entry]) -> list[Entry]:
        """The images with the missing sizes from their files; those that have none are left out."""
        unsized = [image for image in images if not _has_size(image)]
        if not unsized:
            return images
        with ThreadPoolExecutor() as pool:
            headers = pool.map(lambda image: read_header(self._images_dir / image["file_name"]), unsized)
            header_of = {image["id"]: header for image, header in zip(unsized, headers, strict=True)}
        complete = []
        for image in images:
            if _has_size(image):
                complete.append(image)
                continue
            header = header_of[image["id"]]
            height, width = (0, 0) if header is None else header.upright_size
            if not 0 < height * width <= MOST_PIXELS:
                stated = " and ".join(map(shorten, self._stated_sizes[image["id"]]))
                self._leave_out(
                    f"image {shorten(image['id'])}: expected a height and a width of whole pixels, at most"
                    f" {MOST_PIXELS} in all, got {stated}, and no image file that has a size",
                    image["id"],
                )
                continue
            self._reader.repair(SIZES_FROM_FILES, f"image {shorten(image['id'])}: {height} x {width} (height x width)")
            complete.append({**image, "height": height, "width": width})
        return complete

    def _check_names_from_urls(self, images: list[Entry]) -> None:
        """Raises a ValueError where the last parts of two URLs are one name: an image would get wrong objects."""
        counts = Counter(image["file_name"] for image in images)
        for image in images:
            name = image["file_name"]
            if name in self._names_from_urls and counts[name] > 1:
                raise ValueError(
                    f"{self._reader.path}: image {shorten(image['id'])}: expected a file_name, as several images have"
                    f" URLs or paths that end in {shorten(name)}"
                )

    def _leave_out(self, example: str, image_id: Id | None = None) -> None:
        self._reader.leave_out(IMAGES_LEFT_OUT, example)
        if image_id is not None:
            self.left_out.add(image_id)


def _has_size(image: Entry) -> bool:
    return 0 < image["height"] * image["width"] <= MOST_PIXELS and image["height"] > 0
