"""The names of the classes that a foreign checkpoint was trained on, where its file has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from .arrays import ignored_value
from .pickle_values import TextArray

_PLACES = (
    ("meta", "dataset_meta"),  # MMDetection 3
    ("meta",),  # MMDetection 2
    ("dataset_meta",),
    ("metadata",),  # detectron2's name of what describes a data set
    (),
    ("hyper_parameters",),  # Lightning
)
_KEYS = ("classes", "CLASSES", "class_names", "thing_classes", "names", "categories")


def find_class_names(content: Any) -> tuple[str, ...]:
    """The name of each label in a file; empty where it has none.

    Args:
        content: what the file holds.
    """
    for place in _PLACES:
        value = content
        for name in place:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, Mapping):
            for key in _KEYS:
                names = _as_names(value.get(key))
                if names:
                    return names
    return ()


def _as_names(value: Any) -> tuple[str, ...]:
    """Names of labels from a list, from a dict by label or by name, or from COCO's categories; empty for all else."""
    array = ignored_value(value)
    if isinstance(array, TextArray):
        value = array.texts
    if isinstance(value, str):  # `classes = ("nucleus")`, a tuple without its comma
        value = [value]
    if isinstance(value, Mapping):
        if all(type(key) is str and type(label) is int for key, label in value.items()):
            value = {label: name for name, label in value.items()}
        by_label = {int(key): name for key, name in value.items() if str(key).isdecimal() and len(str(key)) < 9}
        value = [by_label.get(label) for label in range(len(value))]
    if not isinstance(value, list | tuple):
        return ()
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in value]
    checked = [name for name in names if _is_name(name)]
    return tuple(checked) if len(checked) == len(names) else ()


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and not any("\ud800" <= one <= "\udfff" for one in value)
