"""Generated parts of the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.program import ROOT


@dataclass(frozen=True)
class Part:
    """Something that a report writes.

    Attributes:
        name: what ``--filter`` and ``--dry-run`` call it.
        write: writes it below a folder, which is the repository or has the same structure.
    """

    name: str
    write: Callable[[Path], None]


def block_part(page: str, name: str, make_blocks: Callable[[], Sequence[str]]) -> Part:
    """The part of a page between the two comments that name a block.

    Args:
        page: its path in the repository.
        name: of the block.
        make_blocks: returns the paragraphs and tables.
    """

    def write(out: Path) -> None:
        replace_block(page_below(out, page), name, make_blocks())

    return Part(f"{page}: {name}", write)


def page_below(out: Path, page: str) -> Path:
    """The path of a page below a folder. It is copied from the repository if it is not there yet."""
    path = out / page
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / page).read_bytes())
    return path


def replace_block(page: Path, name: str, blocks: Sequence[str]) -> None:
    """Put other text between the two comments of a Markdown page that name a block.

    Raises:
        ValueError: the page has no such comments.
    """
    try:
        page.write_text(with_block(page.read_text(), name, blocks))
    except ValueError as error:
        raise ValueError(f"{page}: {error}") from error


def with_block(text: str, name: str, blocks: Sequence[str]) -> str:
    """The text of a Markdown page with other text between the two comments that name a block.

    Raises:
        ValueError: the text has no such comments.
    """
    begin, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"expected the comments {begin} and {end}")
    return pattern.sub(lambda _: "\n\n".join([begin, *blocks, end]), text)
