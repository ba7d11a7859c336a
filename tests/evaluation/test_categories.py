from __future__ import annotations

import warnings

import pytest

import condinst
from condinst.evaluation.categories import match_categories


def test_by_name_first() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # ids 1 and 2 are persons and bicycles in COCO
        found = match_categories(
            [1, 2], ["dog", "cat"], num_classes=3, model_ids=[1, 2, 18], model_names=["cat", "bird", "dog"]
        )
    assert found == [2, None, 1]


def test_a_coco_model_on_some_of_its_categories() -> None:
    config = condinst.load_config("condinst_r50_1x")
    found = match_categories(
        [1, 90], ["person", "toothbrush"],
        num_classes=80, model_ids=config.classes.category_ids, model_names=config.classes.class_names,
    )  # fmt: skip
    assert len(found) == 80 and found[0] == 1 and found[79] == 90 and found[1:79] == [None] * 78


def test_by_id() -> None:
    assert match_categories([9], ["human"], num_classes=2, model_ids=[4, 9]) == [None, 9]
    with pytest.warns(UserWarning, match="9 is 'human' in the data and 'person' in the model"):
        found = match_categories([9], ["human"], num_classes=2, model_ids=[4, 9], model_names=["cat", "person"])
    assert found == [None, 9]


def test_by_order() -> None:
    with pytest.warns(
        UserWarning, match="their order, because the weights have no names of classes: 0 is 'a', 1 is 'b'"
    ):
        assert match_categories([3, 5], ["a", "b"], num_classes=2) == [3, 5]
    with pytest.warns(UserWarning, match="matched by their order: 'nucleus' is 'thing'"):
        assert match_categories([3], ["thing"], num_classes=1, model_names=["nucleus"]) == [3]


def test_names_that_both_have_decide_before_ids_and_order() -> None:
    with pytest.warns(UserWarning, match="by their order where their names differ: 'fish' is 'bird'$"):
        found = match_categories(
            [1, 2, 3], ["cat", "dog", "bird"], num_classes=3, model_ids=[1, 2, 3], model_names=["dog", "fish", "cat"]
        )
    assert found == [2, 3, 1]
    with pytest.raises(ValueError, match=r"does not know the categories 2 \(bird\)$"):
        match_categories(
            [1, 2], ["dog", "bird"], num_classes=3, model_ids=[1, 2, 3], model_names=["cat", "dog", "fish"]
        )


def test_names_that_are_spelled_in_two_ways() -> None:
    with pytest.warns(UserWarning, match="spelled in two ways: 'Traffic_Light' is 'traffic light' in the model"):
        found = match_categories([4, 5], ["Traffic_Light", "dog"], num_classes=2, model_names=["dog", "traffic light"])
    assert found == [5, 4]


def test_categories_of_one_name_stay_two() -> None:
    found = match_categories([4, 5], ["cat", "cat"], num_classes=2, model_ids=[4, 5], model_names=["cat", "cat"])
    assert found == [4, 5]
    with pytest.warns(UserWarning, match=r"or are there twice: class 0 of the name 'cat' is category 4, class 1 .* 5$"):
        found = match_categories([4, 5], ["cat", "cat"], num_classes=2, model_ids=[1, 2], model_names=["cat", "cat"])
    assert found == [4, 5]


def test_unknown_categories() -> None:
    with pytest.raises(ValueError, match=r"expected a model of 2 classes, .* got one of 3; .* categories 7 \(dog\)$"):
        match_categories([4, 7], ["cat", "dog"], num_classes=3, model_ids=[4, 5, 6])
    with pytest.raises(ValueError, match="expected a model of 2 classes, as many as the data has, got one of 1$"):
        match_categories([4, 7], ["cat", "dog"], num_classes=1)
    many = list(range(1, 21))
    with pytest.raises(ValueError, match=r"10 \(10\) and 10 more$"):
        match_categories(many, [str(i) for i in many], num_classes=1, model_ids=[99])
