"""Generated parts of the documentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


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
