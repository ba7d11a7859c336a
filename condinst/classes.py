"""The classes of a data set or a model: things, which are counted, and stuff, which is not."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from .fields import AtLeast, AtMost, check_fields, check_names

_Count = Annotated[int, AtLeast(0), AtMost(100_000, "more than any known data set has")]


@dataclasses.dataclass(frozen=True)
class Classes:
    """Names and category ids of all classes, in the order of their labels.

    The label of a thing is 0 .. num_classes - 1. Panoptic labels are those of the things, followed by those of the
    stuff.
    """

    num_classes: _Count = 80
    """Number of classes of things, which are detected. A model needs at least one."""

    class_names: tuple[str, ...] = ()
    """One name per class of things, or empty."""

    category_ids: tuple[int | str, ...] = ()
    """The id of each class of things in COCO results, a number or text; label + 1 when empty."""

    num_stuff_classes: _Count = 0
    """Number of classes without instances, for panoptic segmentation."""

    stuff_names: tuple[str, ...] = ()
    """One name per class of stuff, or empty."""

    stuff_category_ids: tuple[int | str, ...] = ()
    """The id of each class of stuff in results, a number or text."""

    DESCRIPTIONS: ClassVar[Mapping[str, tuple[str, str]]] = {
        "num_classes": ("class_names", "category_ids"),
        "num_stuff_classes": ("stuff_names", "stuff_category_ids"),
    }
    """The fields that describe the classes of each kind. Another number of classes makes them invalid."""

    def __post_init__(self) -> None:
        check_fields(self)
        for number, names in self.DESCRIPTIONS.items():
            expected = getattr(self, number)
            for name in names:
                if len(getattr(self, name)) not in (0, expected):
                    raise ValueError(f"{name}: expected {expected} ({number}), got {len(getattr(self, name))}")

    @classmethod
    def from_categories(cls, things: Iterable[Mapping[str, Any]], stuff: Iterable[Mapping[str, Any]] = ()) -> Classes:
        """The classes of COCO `categories`, each with `id` and `name`; a label is a place among them."""
        things, stuff = list(things), list(stuff)
        return cls(
            num_classes=len(things),
            class_names=tuple(str(category["name"]) for category in things),
            category_ids=tuple(category["id"] for category in things),
            num_stuff_classes=len(stuff),
            stuff_names=tuple(str(category["name"]) for category in stuff),
            stuff_category_ids=tuple(category["id"] for category in stuff),
        )

    def __len__(self) -> int:
        """Number of panoptic labels."""
        return self.num_classes + self.num_stuff_classes

    @property
    def without_stuff(self) -> Classes:
        """The things alone."""
        return self.replace(num_stuff_classes=0)

    @property
    def panoptic_names(self) -> tuple[str, ...]:
        """The name of each panoptic label; the label itself where a kind has no names."""
        things = self.class_names or tuple(map(str, range(self.num_classes)))
        stuff = self.stuff_names or tuple(map(str, range(self.num_classes, len(self))))
        return things + stuff

    @property
    def panoptic_category_ids(self) -> tuple[int | str, ...]:
        """The category id of each panoptic label; label + 1 unless all have one."""
        category_ids = self.category_ids + self.stuff_category_ids
        return category_ids if len(category_ids) == len(self) else tuple(range(1, len(self) + 1))

    def name(self, label: int) -> str:
        """The name of a panoptic label; the label itself where there is no name."""
        names = self.panoptic_names
        return names[label] if 0 <= label < len(names) else str(label)

    def to_categories(self) -> list[dict[str, Any]]:
        """COCO's `categories` of all panoptic labels: `id`, `name` and `isthing`."""
        labels = zip(self.panoptic_category_ids, self.panoptic_names, strict=True)
        return [
            {"id": category_id, "name": name, "isthing": int(label < self.num_classes)}
            for label, (category_id, name) in enumerate(labels)
        ]

    def replace(self, /, **overrides: Any) -> Classes:
        """A copy with some fields changed. A new number of classes drops their names and category ids.

        Raises:
            TypeError: a value of another type than its field's.
            ValueError: for a name that is not a field; for a value out of range.
        """
        check_names(Classes, overrides)
        for number, names in self.DESCRIPTIONS.items():
            if overrides.get(number, getattr(self, number)) != getattr(self, number):
                overrides = dict.fromkeys(names, ()) | overrides
        return dataclasses.replace(self, **overrides)


def match_names(names: Sequence[str], other_names: Sequence[str]) -> dict[int, int]:
    """Places of names that mean the same class. A name that either side has twice is not matched.

    Names that differ in upper case, spaces, hyphens and underscores alone mean the same where the exact name is
    missing.

    Args:
        names: of labels.
        other_names: of other labels.

    Returns:
        The place in `other_names` by the place in `names`, in the order of `names`.
    """
    matches: dict[int, int] = {}
    for spelling in (str, _spelling):
        places = _unique_places(map(spelling, names))
        others = _unique_places(map(spelling, other_names))
        taken = set(matches.values())
        for name, place in places.items():
            if name in others and place not in matches and others[name] not in taken:
                matches[place] = others[name]
    return dict(sorted(matches.items()))


def match_order(names: Sequence[str], other_names: Sequence[str]) -> list[int]:
    """The place in `other_names` for each of as many names: by name where both have it, in their order for the rest."""
    matches = match_names(names, other_names)
    taken = set(matches.values())
    rest = iter([place for place in range(len(other_names)) if place not in taken])
    return [matches[place] if place in matches else next(rest) for place in range(len(names))]


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _unique_places(names: Iterable[str]) -> dict[str, int]:
    listed = list(names)
    counts = Counter(listed)
    return {name: place for place, name in enumerate(listed) if counts[name] == 1}


def distinct_names(names: Sequence[str], ids: Sequence[int | str]) -> list[str]:
    """The name of each class; with its id where several classes have one name, so that each keeps its row."""
    counts = Counter(names)
    taken = {name for name in names if counts[name] == 1}
    distinct = []
    for name, number in zip(names, ids, strict=True):
        if counts[name] > 1:
            name = f"{name} ({number})"
            while name in taken:
                name = f"{name} ({number})"
            taken.add(name)
        distinct.append(name)
    return distinct
