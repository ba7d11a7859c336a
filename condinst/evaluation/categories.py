"""Which category of a data set each label of a model stands for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from condinst.classes import Classes, match_names, match_order

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

    Matched by name where the model has all the names of the data; else by id where it has all the ids and no name says
    otherwise; else, where data and model have equally many, by the names that both have and by order for the rest.
    There is a warning where labels are matched by order, and where ids or names differ.

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
    by_name = match_names(category_names, model_names) if len(model_names) == num_classes else {}
    if len(by_name) == len(category_ids):
        _warn_of_spelling(by_name, category_names, model_names)
        by_label = {label: category_ids[place] for place, label in by_name.items()}
        return [by_label.get(label) for label in range(num_classes)]
    contradicted = model_ids and any(category_ids[place] != model_ids[label] for place, label in by_name.items())
    if model_ids and set(category_ids) <= set(model_ids) and not contradicted:
        _warn_of_names(category_ids, category_names, model_ids, model_names)
        by_id: dict[int | str, int | str] = {category: category for category in category_ids}
        return [by_id.get(category) for category in model_ids]
    if len(category_ids) == num_classes:
        return _match_by_order(category_ids, category_names, model_names, kind)
    unknown = [
        f"{category} ({name})"
        for category, name in zip(category_ids, category_names, strict=True)
        if name not in model_names and (contradicted or category not in model_ids)
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


def _match_by_order(
    category_ids: Sequence[int | str], category_names: Sequence[str], model_names: Sequence[str], kind: str
) -> list[int | str | None]:
    """As `match_categories`, of as many classes as the data has."""
    if not model_names:
        pairs = [f"{label} is {name!r}" for label, name in enumerate(category_names)]
        warnings.warn(
            f"{kind} are matched by their order, because the weights have no names of classes: {few(pairs)}",
            stacklevel=3,
        )
        return list(category_ids)
    order, by_name = match_order(model_names, category_names), match_names(model_names, category_names)
    pairs = [
        f"{model_names[label]!r} is {category_names[place]!r}"
        if model_names[label] != category_names[place]
        else f"class {label} of the name {model_names[label]!r} is category {category_ids[place]}"
        for label, place in enumerate(order)
        if label not in by_name or model_names[label] != category_names[place]
    ]
    if pairs:
        are_twice = any(len(set(names)) < len(names) for names in (model_names, category_names))
        reason = " or are there twice" if are_twice else ""
        rest = f" where their names differ{reason}" if len(pairs) < len(order) or reason else ""
        warnings.warn(f"{kind} are matched by their order{rest}: {few(pairs)}", stacklevel=3)
    return [category_ids[place] for place in order]


def _warn_of_spelling(by_name: Mapping[int, int], category_names: Sequence[str], model_names: Sequence[str]) -> None:
    other = [
        f"{category_names[place]!r} is {model_names[label]!r} in the model"
        for place, label in by_name.items()
        if category_names[place] != model_names[label]
    ]
    if other:
        warnings.warn(f"categories are matched by names that are spelled in two ways: {few(other)}", stacklevel=3)


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
