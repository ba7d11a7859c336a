"""Messages of errors: values from files in them, which are short whatever they are, and errors for want of memory."""

from __future__ import annotations

import reprlib

import torch

_LONGEST = 200  # characters of a text

_reprs = reprlib.Repr()
_reprs.maxstring = _reprs.maxother = 60


def shorten(value: object) -> str:
    """A value of any size and depth as Python writes it, with dots in place of most of it."""
    try:
        return _reprs.repr(value)
    except ValueError:  # Python does not write whole numbers of more than 4300 digits
        return f"{type(value).__name__} of thousands of digits"


def shorten_text(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, as Python, NumPy or PyTorch does."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
