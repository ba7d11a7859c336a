"""Ids of images and categories: numbers of any size or text, which not every program writes in one way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Id = int | str

LONGEST_ID = 255  # characters of an id that is text
MOST_BITS = 10_000  # of a number; Python writes no longer ones as text
_NAMED = 5
_LARGEST_INTEGRAL_FLOAT = 2.0**53


def read_id(value: Any) -> Id | None:
    """An id of a file; None for a value that is none.

    Args:
        value: a whole number, also as a float such as 7.0, or text.
    """
    if type(value) is int:
        return value if value.bit_length() <= MOST_BITS else None
    if type(value) is float and value.is_integer() and abs(value) <= _LARGEST_INTEGRAL_FLOAT:
        return int(value)
    return value if type(value) is str and len(value) <= LONGEST_ID and is_text(value) else None


def is_text(text: str) -> bool:
    """Whether text can be written: JSON may have halves of characters."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


class IdTable:
    """The ids of the entries of a file, by which its other entries refer to them.

    A reference that is equal to no id may still be one written in another type: '7' is 7 if no id is '7'.

    Args:
        ids: all different, also as text.
    """

    def __init__(self, ids: Iterable[Id]) -> None:
        self.exact = frozenset(ids)
        self._number_of_text = {str(number): number for number in self.exact if type(number) is int}

    def find(self, reference: Id) -> Id | None:
        """The id that a reference means; None where there is none."""
        if reference in self.exact:
            return reference
        if isinstance(reference, str):
            return self._number_of_text.get(reference.strip())
        return str(reference) if str(reference) in self.exact else None


def check_unique(path: Path, key: str, field: str, ids: Iterable[Id]) -> None:
    """Raises a ValueError where two entries of a file have one id, or ids that differ in their type only."""
    counts = Counter(ids)
    twice = {value for value, times in counts.items() if times > 1}
    if twice:
        raise ValueError(f"{path}: {key}: {field} that are used twice: {few_ids(twice)}")
    alike = {value for value in counts if type(value) is int and str(value) in counts}
    if alike:
        raise ValueError(f"{path}: {key}: {field} that are used twice, as a number and as text: {few_ids(alike)}")


def sort_key(value: Id) -> tuple[bool, Any]:
    """Sorts numbers before text."""
    return isinstance(value, str), value


def few_ids(values: Iterable[Id]) -> str:
    """The first few ids, for a message."""
    ordered = sorted(values, key=sort_key)
    rest = len(ordered) - _NAMED
    return ", ".join(map(str, ordered[:_NAMED])) + (f" and {rest} more" if rest > 0 else "")
