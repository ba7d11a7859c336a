"""Strategies that damage files: bytes changed at random, and JSON with something else in some of its places."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "\x00",
    "../../x",
    "0",
    -1,
    0,
    1,
    2**31,
    2**32,
    2**63,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e39,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [[[]]],
    [None],
    {"x": 1},
    "[" * 50,
)


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """The content with one to four changes: bytes replaced, cut out, repeated or put in, and the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 64)))
        kind = draw(st.sampled_from(("replace", "replace", "replace", "flip", "cut", "repeat", "insert", "end")))
        if kind == "replace":
            byte = draw(st.sampled_from((0, 1, 0x20, 0x7F, 0x80, 0xFF)))
            changed[start : start + length] = bytes([byte]) * len(changed[start : start + length])
        elif kind == "flip" and start < len(changed):
            changed[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[start : start + length]
        elif kind == "repeat":
            changed[start:start] = changed[start : start + length] * draw(st.sampled_from((1, 3, 50)))
        elif kind == "insert":
            changed[start:start] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "end":
            del changed[start:]
    return bytes(changed)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a tree of lists and dicts."""
    places: list[tuple[Any, Any]] = []
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            places += [(tree, key), *_places(tree[key])]
    return places


@st.composite
def damaged_json(draw: Any, tree: Any) -> Any:
    """The tree with one to three changes: a value replaced, left out, repeated or taken from somewhere else."""
    changed = {"root": copy.deepcopy(tree)}
    for _ in range(draw(st.integers(1, 3))):
        places = _places(changed)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "repeat", "other")))
        if kind == "replace":
            container[key] = copy.deepcopy(draw(st.sampled_from(SCALARS)))
        elif kind == "remove" and container is not changed:
            del container[key]
        elif kind == "repeat" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif kind == "other":
            other, other_key = places[draw(st.integers(0, len(places) - 1))]
            container[key] = copy.deepcopy(other[other_key])
    return changed["root"]
