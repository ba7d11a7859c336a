"""Config dataclasses: the annotation of a field says what it may hold, and `check_fields` checks all fields by it.

A field is a bool, int, float or str, or a tuple of these. `Literal` lists the values that are allowed, `Annotated` adds
limits, and a docstring under the field says what it is for::

    nms: Literal["box", "mask"] = "box"
    \"\"\"What NMS compares.\"\"\"

    nms_threshold: Annotated[float, Within(0, 1)] = 0.6
    \"\"\"Of two boxes with a higher IoU, only the better one is kept.\"\"\"

A field may also be a part, which is another dataclass of this kind. In files and overrides the fields of a part stand
beside those of the whole, so `check_field` and `check_names` know them, too.

Configs also come from files that other people wrote, so that any value may be of any type.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from types import EllipsisType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from .messages import shorten

LARGEST_INT = 2**63 - 1
"""The largest whole number that PyTorch takes."""


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """The lowest number that a field may hold."""

    limit: float

    def __str__(self) -> str:
        return f"of at least {self.limit}"

    def allows(self, value: float) -> bool:
        return value >= self.limit


@dataclasses.dataclass(frozen=True)
class AtMost:
    """The highest number that a field may hold, and why."""

    limit: float
    reason: str = ""

    def __str__(self) -> str:
        return f"of at most {self.limit}" + (f" ({self.reason})" if self.reason else "")

    def allows(self, value: float) -> bool:
        return value <= self.limit


@dataclasses.dataclass(frozen=True)
class Above:
    """A field's numbers are higher than this one."""

    limit: float

    def __str__(self) -> str:
        return f"above {self.limit}"

    def allows(self, value: float) -> bool:
        return value > self.limit


@dataclasses.dataclass(frozen=True)
class Below:
    """A field's numbers are lower than this one."""

    limit: float

    def __str__(self) -> str:
        return f"below {self.limit}"

    def allows(self, value: float) -> bool:
        return value < self.limit


@dataclasses.dataclass(frozen=True)
class Within:
    """The lowest and the highest number that a field may hold."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"in {self.least}..{self.most}"

    def allows(self, value: float) -> bool:
        return self.least <= value <= self.most


@dataclasses.dataclass(frozen=True)
class Between:
    """A field's numbers are higher than the first and lower than the second number."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"between {self.low} and {self.high}"

    def allows(self, value: float) -> bool:
        return self.low < value < self.high


Limit = AtLeast | AtMost | Above | Below | Within | Between


@dataclasses.dataclass(frozen=True)
class OldName:
    """What an earlier release called a field.

    A config class lists these in `OLD_NAMES`, a class variable: a dict from each old name to its `OldName`.
    """

    name: str
    """The field's present name."""

    values: Mapping[str, Any] | None = None
    """The present value for each old one; None where the values have not changed."""


def check_fields(config: Any) -> None:
    """Raises unless all fields of a dataclass hold what their annotations allow.

    Lists are stored as tuples, and whole numbers in float fields as floats.

    Args:
        config: an instance of the dataclass, which may be frozen.

    Raises:
        TypeError: a value, or an entry of a tuple, of another type.
        ValueError: a tuple of another length, a value that is not among the choices or not within the limits, a whole
            number beyond `LARGEST_INT`, or a float that is not finite.
    """
    for name, annotation in _annotations(type(config)).items():  # type: ignore[arg-type]  # a class has a hash
        object.__setattr__(config, name, _checked(name, getattr(config, name), annotation))


def check_field(kind: type[Any], name: str, value: object) -> Any:
    """The value of one field as `check_fields` stores it.

    Args:
        kind: the dataclass.
        name: the field's present name.
        value: what the field shall hold.

    Raises:
        TypeError: as `check_fields`.
        ValueError: as `check_fields`, and when the dataclass has no such field.
    """
    check_names(kind, [name])
    owner = next((part for part in parts(kind).values() if name in _field_names(part)), kind)
    return _checked(name, value, _annotations(owner)[name])  # type: ignore[arg-type]  # a class has a hash


def check_names(kind: type[Any], names: Iterable[str]) -> None:
    """Raises ValueError for a name that is not a field of a dataclass; the message proposes the nearest field."""
    known = [name for owner in (kind, *parts(kind).values()) for name in _field_names(owner)]
    for name in names:
        if name not in known:
            raise ValueError(f"{shorten(name)[1:-1]}: not a field of {kind.__name__}{did_you_mean(name, known)}")


def parts(kind: type[Any]) -> dict[str, type[Any]]:
    """The fields of a dataclass that are dataclasses themselves, by name."""
    annotations = _annotations(kind)  # type: ignore[arg-type]  # a class has a hash
    return {
        name: annotation.types[0]
        for name, annotation in annotations.items()
        if isinstance(annotation, _Values) and dataclasses.is_dataclass(annotation.types[0])
    }


def flat_values(config: Any) -> dict[str, Any]:
    """The values of all fields of a dataclass by name, with those of a part in its place."""
    values: dict[str, Any] = {}
    for name in _field_names(type(config)):
        value = getattr(config, name)
        values |= flat_values(value) if name in parts(type(config)) else {name: value}
    return values


def _field_names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def rename_old_fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values of fields under the fields' present names.

    Args:
        kind: the dataclass, with `OLD_NAMES` where names have changed.
        values: by name; names that are not known stay.

    Raises:
        ValueError: a value that the old field did not have, or a field under both names.
    """
    old_names: Mapping[str, OldName] = getattr(kind, "OLD_NAMES", {})
    renamed = {name: value for name, value in values.items() if name not in old_names}
    for name in values.keys() & old_names.keys():
        old, value = old_names[name], values[name]
        if old.name in renamed:
            raise ValueError(f"{name}: is the old name of {old.name}; expected one of the two, got both")
        if old.values is not None:
            if not isinstance(value, str) or value not in old.values:
                raise ValueError(f"{name}: expected one of {', '.join(old.values)}, got {shorten(value)}")
            value = old.values[value]
        renamed[old.name] = value
    return renamed


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, if any is similar."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True)
class _Values:
    """What a field, or an entry of a tuple, may hold."""

    types: tuple[type, ...]
    choices: tuple[Any, ...] = ()
    limits: tuple[Limit, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Tuple:
    """What a field with a tuple may hold."""

    entries: tuple[_Values, ...]
    any_length: bool  # each entry is then as the only one of `entries`


@functools.lru_cache
def _annotations(kind: type[Any]) -> dict[str, _Values | _Tuple]:
    """What the fields of a dataclass may hold."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _parse(hints[field.name]) for field in dataclasses.fields(kind)}


def _parse(hint: Any) -> _Values | _Tuple:
    if get_origin(hint) is not tuple:
        return _parse_entry(hint)
    entries = get_args(hint)
    any_length = isinstance(entries[-1], EllipsisType)
    return _Tuple(tuple(map(_parse_entry, entries[:1] if any_length else entries)), any_length)


def _parse_entry(hint: Any) -> _Values:
    if get_origin(hint) is Annotated:
        plain, *marks = get_args(hint)
        return dataclasses.replace(_parse_entry(plain), limits=tuple(mark for mark in marks if isinstance(mark, Limit)))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return _Values((type(choices[0]),), choices)
    return _Values(get_args(hint) if isinstance(hint, UnionType) else (hint,))


def _checked(name: str, value: object, annotation: _Values | _Tuple) -> Any:
    if isinstance(annotation, _Values):
        return _checked_entry(name, value, annotation)
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name}: expected tuple, got {type(value).__name__} {shorten(value)}")
    entries = annotation.entries * len(value) if annotation.any_length else annotation.entries
    if len(value) != len(entries):
        raise ValueError(f"{name}: expected {len(entries)} numbers, got {shorten(tuple(value))}")
    return tuple(_checked_entry(name, entry, allowed) for entry, allowed in zip(value, entries, strict=True))


def _checked_entry(name: str, value: Any, allowed: _Values) -> Any:
    if type(value) is str and str in allowed.types and not allowed.choices:  # most entries are names
        return value
    if float in allowed.types and type(value) is int:
        try:
            value = float(value)
        except OverflowError as error:
            raise ValueError(f"{name}: expected a finite number, got {shorten(value)}") from error
    if not _has_type(value, allowed.types):
        expected = " or ".join(kind.__name__ for kind in allowed.types)
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__} {shorten(value)}")
    if allowed.choices and value not in allowed.choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed.choices))}, got {shorten(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {shorten(value)}")
    if isinstance(value, int) and str not in allowed.types and abs(value) > LARGEST_INT:  # ids may be of any size
        raise ValueError(f"{name}: expected at most {LARGEST_INT}, got {shorten(value)}")
    for limit in allowed.limits:
        if not limit.allows(value):
            expected = f"a number {limit}" if float in allowed.types else str(limit).removeprefix("of ")
            raise ValueError(f"{name}: expected {expected}, got {value}")
    return value


def _has_type(value: object, types: tuple[type, ...]) -> bool:
    """Whether a value has one of the types; True and False are no whole numbers here."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))
