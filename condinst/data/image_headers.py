"""What the header of an image file says, without its pixels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PIL import Image

from condinst.data.images import DEEP_MODES, TURNED, orientation_of, unlimited_pil


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """The header of an image file.

    Args:
        height, width: of the pixels as they lie in the file.
        orientation: EXIF's, in 1..8; 1 is upright.
        deep: whether PIL reads more than 8 bits for each pixel.
    """

    height: int
    width: int
    orientation: int
    deep: bool

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of what `read_image` returns."""
        return (self.width, self.height) if self.orientation in TURNED else (self.height, self.width)


def read_header(path: Path) -> ImageHeader | None:
    """The header of an image file; None where there is no image that PIL can open."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            return None
        with unlimited_pil(), Image.open(path) as image:
            orientation = orientation_of(image)
            known = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
            return ImageHeader(image.height, image.width, known, image.mode.startswith(DEEP_MODES))
    except Exception:  # PIL's parsers raise whatever they stumble over
        return None
