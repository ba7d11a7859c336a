"""Checks of the fields of configs by their declared types; configs also come from files that others wrote."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from ..messages import shorten

LARGEST_INT = 2**63 - 1
"""The largest whole number that PyTorch takes."""


def check_types(config: Any, also: Mapping[str, type] = MappingProxyType({})) -> None:
    """Raises unless all fields of a dataclass hold what their types say; whole numbers pass as floats.

    Lists are taken for tuples and stored as such.

    Args:
        config: the dataclass, whose types are bool, int, float, str and tuples of one of these.
        also: by field, a type that is taken beside the declared one.

    Raises:
        TypeError: a value, or an entry of a tuple, of another type.
        ValueError: a tuple of another length, a whole number beyond `LARGEST_INT`, or a float that is not finite.
    """
    for name, hint in _hints(type(config)).items():  # type: ignore[arg-type]  # a class has a hash
        value = getattr(config, name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(config, name, value)
        if get_origin(hint) is not tuple:
            _check(name, value, hint)
            continue
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            raise TypeError(f"{name}: expected tuple, got {type(value).__name__} {shorten(value)}")
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(value) != len(kinds):
            raise ValueError(f"{name}: expected {len(kinds)} numbers, got {shorten(value)}")
        for entry, kind in zip(value, kinds, strict=True):
            if not (name in also and isinstance(entry, also[name])):
                _check(name, entry, kind)


@functools.lru_cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of the fields of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _check(name: str, value: object, kind: type) -> None:
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name}: expected {kind.__name__}, got {type(value).__name__} {shorten(value)}")
    if kind is float and not _is_finite(value):
        raise ValueError(f"{name}: expected a finite number, got {shorten(value)}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise ValueError(f"{name}: expected at most {LARGEST_INT}, got {shorten(value)}")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
