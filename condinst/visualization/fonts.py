"""Fonts for names in any script, and what is written where no font has the characters."""

from __future__ import annotations

import importlib.util
import unicodedata
from functools import cache
from pathlib import Path

from PIL import ImageFont, features

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_NO_CHARACTER = "\U0010ffff"  # for which every font has the sign of a missing glyph
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_LONGEST_ESCAPE = 12


def font_for(text: str, size: int) -> Font:
    """The font that a text is written in: Pillow's own, or DejaVu Sans of matplotlib where that has more of it."""
    fonts = _fonts(size)
    return next((font for index, font in enumerate(fonts) if _has_glyphs(text, size, index)), fonts[0])


def legible(name: str, label: int) -> str:
    """A name on one line, or its label with the escaped name where no font that is installed can write it."""
    text = " ".join(name.split())
    size = 16  # any: the glyphs are the same at all sizes
    if any(_has_glyphs(text, size, index) for index in range(len(_fonts(size)))):
        return text
    escaped = ascii(text)[1:-1]
    return f"{label} ({escaped if len(escaped) <= _LONGEST_ESCAPE else escaped[:_LONGEST_ESCAPE] + '...'})"


@cache
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    # The folder is looked up without an import, which takes a second.
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        path = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            fonts.append(
                ImageFont.truetype(str(path), round(0.9 * size))
            )  # its letters are larger than those of Pillow's
    return fonts


def _has_glyphs(text: str, size: int, index: int) -> bool:
    return all(_has_glyph(character, size, index) for character in set(text))


@cache
def _has_glyph(character: str, size: int, index: int) -> bool:
    if character == " ":
        return True
    if not character.isprintable():
        return False
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT and not features.check("raqm"):
        return False  # without it such letters stand in the wrong order
    font = _fonts(size)[index]
    glyph, missing = font.getmask(character), font.getmask(_NO_CHARACTER)
    return glyph.size != missing.size or bytes(glyph) != bytes(missing)
