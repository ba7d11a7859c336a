"""The limits in docs/foreign_files.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from condinst.data import file_names, ids, object_fields, rles, segmentations
from condinst.data.images import max_pixels
from condinst.geometry import MOST_PIXELS
from condinst.models import config_files
from condinst.models.checkpoints import arrays, pickle_values, pickles
from condinst.models.checkpoints.model import MOST_PARAMETERS

PAGE = Path(__file__).parents[1] / "docs" / "foreign_files.md"


def limit(row: str) -> str:
    """The second cell of the row that begins with these words."""
    (found,) = re.findall(rf"^\| {re.escape(row)}[^|]*\| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    return found


def test_limits_of_the_page() -> None:
    assert limit("operations of a pickle") == f"{pickles.MOST_OPERATIONS:,}"
    assert limit("bytes of a whole number") == str(pickles._LONGEST_NUMBER)
    assert f"A chain of more than {config_files._MOST_BASES} files is refused" in " ".join(PAGE.read_text().split())
    assert "below 2^61 - 1" in limit("keys of dicts") and pickle_values._HASH_MODULUS == 2**61 - 1
    assert limit("entries of `OrderedDict`s").startswith(f"{pickle_values._PAIR_BYTES} bytes each")
    assert f"at most {MOST_PARAMETERS:,} parameters" in " ".join(PAGE.read_text().split())
    assert limit("axes of a tensor") == str(arrays._MOST_AXES)
    assert limit("pixels of a picture") == f"{max_pixels():,}"
    assert limit("height times width of an image") == "2^31 - 1" and MOST_PIXELS == 2**31 - 1
    assert limit("coordinates of a polygon") == f"{segmentations.LARGEST_COORDINATE:,}"
    assert limit("outline of all polygons of an object") == f"{rles.LONGEST_OUTLINE:,} pixels"
    assert limit("numbers of a box") == f"{object_fields.LARGEST_BOX:,}"
    assert (
        limit("names of files")
        == f"{file_names.LONGEST_PATH:,} characters, and {file_names.LONGEST_PART} bytes for each folder and file"
    )
    assert limit("ids") == f"{ids.MOST_BITS:,} bits, or text of {ids.LONGEST_ID} characters"
