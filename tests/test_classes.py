"""`Classes`: one value for the things and stuff of data, config, predictions and evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from condinst import Classes, CondInstConfig
from condinst.classes import distinct_names

COCO_CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}], [{"id": 200, "name": "sky"}]


def test_labels_are_things_and_then_stuff() -> None:
    classes = Classes.from_categories(*COCO_CATEGORIES)
    assert len(classes) == 3 and (classes.num_classes, classes.num_stuff_classes) == (2, 1)
    assert [classes.name(label) for label in range(4)] == ["cat", "dog", "sky", "3"]
    assert classes.panoptic_category_ids == (3, 90, 200)
    assert classes.to_categories() == [
        {"id": 3, "name": "cat", "isthing": 1},
        {"id": 90, "name": "dog", "isthing": 1},
        {"id": 200, "name": "sky", "isthing": 0},
    ]
    assert classes.without_stuff == Classes.from_categories(COCO_CATEGORIES[0])


def test_classes_without_names() -> None:
    classes = Classes(2, num_stuff_classes=1, stuff_names=("sky",), stuff_category_ids=(200,))
    assert classes.panoptic_names == ("0", "1", "sky") and classes.panoptic_category_ids == (1, 2, 3)
    assert len(Classes(0)) == 0 and Classes(0).to_categories() == []


def test_another_number_drops_names_and_ids() -> None:
    classes = Classes.from_categories(*COCO_CATEGORIES)
    assert classes.replace(num_classes=2) == classes
    more = classes.replace(num_classes=5)
    assert more.class_names == more.category_ids == () and more.stuff_names == ("sky",)
    assert classes.replace(num_classes=1, class_names=("cat",)).class_names == ("cat",)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"num_classes": 2, "class_names": ("cat",)}, ValueError, r"class_names: expected 2 \(num_classes\), got 1"),
        ({"num_stuff_classes": -1}, ValueError, "num_stuff_classes: expected at least 0, got -1"),
        ({"num_classes": "2"}, TypeError, "num_classes: expected int, got str '2'"),
        ({"category_ids": (1.5,) * 80}, TypeError, "category_ids: expected int or str, got float 1.5"),
        ({"class_name": ()}, ValueError, "class_name: not a field of Classes; did you mean 'class_names'"),
    ],
)
def test_bad_fields(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Classes().replace(**fields)


def test_a_config_takes_classes_or_their_fields() -> None:
    classes = Classes.from_categories(*COCO_CATEGORIES)
    config = CondInstConfig(classes=classes)
    assert config == CondInstConfig().replace(
        num_classes=2, class_names=("cat", "dog"), category_ids=(3, 90),
        num_stuff_classes=1, stuff_names=("sky",), stuff_category_ids=(200,),
    )  # fmt: skip
    assert CondInstConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="classes: expected this or its field num_classes, got both"):
        config.replace(classes=classes, num_classes=3)
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        config.replace(num_classes=0)


def test_distinct_names_are_distinct() -> None:
    assert distinct_names(["cat", "cat", "dog"], [1, 2, 3]) == ["cat (1)", "cat (2)", "dog"]
    assert distinct_names(["cat", "cat", "cat (1)"], [1, 2, 3]) == ["cat (1) (1)", "cat (2)", "cat (1)"]
