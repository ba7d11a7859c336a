"""Which category of a data set each label of a model stands for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from condinst.classes import Classes

_MANY = 10  # ids in a message


def match_categories(
    category_ids: Sequence[int | str],
    category_names: Sequence[str],
    *,
    num_classes: int,
    model_ids: Sequence[int | str] = (),
    model_names: Sequence[str] = (),
    kind: str = "classes",
) -> list[int | str | None]:
    """The category id of each label of a model, so that a model of many classes can be tested on data of a few.

    Matched by name where the model has all the names of the data; else by id where it has all the ids; else, where
    data and model have equally many, by order. A warning tells of ids or names that differ.

    Args:
        category_ids: of the data, in the order of its labels.
        category_names: of the data.
        num_classes: of the model.
        model_ids: the category id of each of the model's labels, if it has them.
        model_names: the name of each, if it has them.
        kind: what they are called in messages.

    Returns:
        For each label of the model the id in the data, None for a class that the data does not have.

    Raises:
        ValueError: the data has categories that the model does not know; the message lists their ids.
    """
    named = len(set(model_names)) == num_classes and len(set(category_names)) == len(category_names)
    if named and set(category_names) <= set(model_names):
        by_name = dict(zip(category_names, category_ids, strict=True))
        return [by_name.get(name) for name in model_names]
    if model_ids and set(category_ids) <= set(model_ids):
        _warn_of_names(category_ids, category_names, model_ids, model_names)
        by_id: dict[int | str, int | str] = {category: category for category in category_ids}
        return [by_id.get(category) for category in model_ids]
    if len(category_ids) == num_classes:
        if model_names and list(model_names) != list(category_names):
            pairs = [f"{own!r} is {other!r}" for own, other in zip(model_names, category_names, strict=True)]
            warnings.warn(f"{kind} are matched by their order: {few(pairs)}", stacklevel=2)
        return list(category_ids)
    unknown = [
        f"{category} ({name})"
        for category, name in zip(category_ids, category_names, strict=True)
        if category not in model_ids and name not in model_names
    ]
    reason = f"; it does not know the categories {few(unknown)}" if unknown and (model_ids or model_names) else ""
    raise ValueError(
        f"weights: expected a model of {len(category_ids)} {kind}, as many as the data has, got one of {num_classes}"
        f"{reason}"
    )


def match_classes(data: Classes, model: Classes, *, stuff: bool) -> list[int | str | None]:
    """The category id in the data of each label of a model; things and stuff are matched apart.

    Args:
        data: the classes of the data.
        model: the classes of the model.
        stuff: whether the labels are panoptic ones, which go on with the stuff.

    Raises:
        ValueError: see `match_categories`.
    """
    things = match_categories(
        data.category_ids,
        data.class_names,
        num_classes=model.num_classes,
        model_ids=model.category_ids,
        model_names=model.class_names,
        kind="classes of things" if stuff else "classes",
    )
    if not stuff:
        return things
    return things + match_categories(
        data.stuff_category_ids,
        data.stuff_names,
        num_classes=model.num_stuff_classes,
        model_ids=model.stuff_category_ids,
        model_names=model.stuff_names,
        kind="classes of stuff",
    )


def _warn_of_names(
    category_ids: Sequence[int | str],
    category_names: Sequence[str],
    model_ids: Sequence[int | str],
    model_names: Sequence[str],
) -> None:
    known = dict(zip(model_ids, model_names, strict=False))  # a model may have ids without names
    other = [
        f"{category} is {name!r} in the data and {known[category]!r} in the model"
        for category, name in zip(category_ids, category_names, strict=True)
        if known.get(category, name) != name
    ]
    if other:
        warnings.warn(f"categories are matched by id, but names differ: {few(other)}", stacklevel=3)


def few(entries: Sequence[object]) -> str:
    """The first entries, for a message."""
    more = f" and {len(entries) - _MANY} more" if len(entries) > _MANY else ""
    return ", ".join(map(str, entries[:_MANY])) + more
