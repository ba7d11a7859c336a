"""The names of classes in foreign checkpoints, and which class a layer starts from in fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import condinst
from condinst import CondInst
from condinst.models.checkpoints.class_names import find_class_names
from condinst.models.checkpoints.model import fine_tune
from tests.models.adelaidet import SMALL, adelaidet_state, save
from tests.models.tiny import make_model


@pytest.mark.parametrize(
    "content",
    [
        {"meta": {"dataset_meta": {"classes": ("dog", "cat"), "palette": [(1, 2, 3)]}}},
        {"meta": {"dataset_meta": {"CLASSES": ["dog", "cat"]}, "classes": ["a", "b"]}},
        {"meta": {"CLASSES": ("dog", "cat")}},
        {"metadata": {"thing_classes": ["dog", "cat"]}},
        {"names": {0: "dog", 1: "cat"}},
        {"classes": {"cat": 1, "dog": 0}},
        {"hyper_parameters": {"class_names": ["dog", "cat"], "names": 3}},
        {"categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]},
        {"class_names": np.array(["dog", "cat"])},
    ],
)
def test_places_of_names(tmp_path: Path, content: dict[str, Any]) -> None:
    state = adelaidet_state(CondInst(SMALL.replace(num_classes=2)))
    classes = condinst.load(save(content | {"model": state}, tmp_path / "a.pth")).config.classes
    assert classes.class_names == ("dog", "cat") and classes.category_ids == ()


@pytest.mark.parametrize("content", [[1], {}, {"meta": "x"}, {"names": {1: "a"}}, {"names": [1]}, {"classes": 3}])
def test_no_names(content: Any) -> None:
    assert find_class_names(content) == ()


def test_names_of_coco(tmp_path: Path) -> None:
    state = adelaidet_state(CondInst(SMALL))
    names = condinst.load_config("condinst_r50_1x").class_names
    classes = condinst.load(save({"model": state, "classes": names}, tmp_path / "a.pth")).config.classes
    assert classes == condinst.load_config("condinst_r50_1x").classes
    other = condinst.load(save({"model": state, "classes": names[::-1]}, tmp_path / "b.pth")).config.classes
    assert other.class_names == names[::-1] and other.category_ids == ()


def test_names_of_another_number(tmp_path: Path) -> None:
    path = save({"model": adelaidet_state(CondInst(SMALL)), "classes": ("dog", "cat")}, tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"names 2 classes \(dog, cat\), but the model has 80; the names are not used"):
        assert condinst.load(path).config.class_names == ()


def test_fine_tuning_starts_from_the_class_of_the_same_name(tmp_path: Path) -> None:
    model = make_model(semantic_loss=True)  # disc, square, bar
    torch.nn.init.normal_(model.head.cls_logits.bias)  # type: ignore[arg-type]
    condinst.save_checkpoint(model, tmp_path / "a.safetensors")
    tuned = fine_tune(tmp_path / "a.safetensors", class_names=("bar", "disc", "square"))
    for key in ("head.cls_logits.weight", "head.cls_logits.bias", "mask_branch.logits.weight"):
        assert torch.equal(tuned.state_dict()[key], model.state_dict()[key][[2, 0, 1]]), key
    with pytest.warns(
        UserWarning, match="classes start from those of the weights in their order: 'star' from 'square'"
    ):
        tuned = fine_tune(tmp_path / "a.safetensors", class_names=("bar", "disc", "star"))
    assert torch.equal(
        tuned.state_dict()["head.cls_logits.bias"], model.state_dict()["head.cls_logits.bias"][[2, 0, 1]]
    )


def test_fine_tuning_of_weights_without_names(tmp_path: Path) -> None:
    model = make_model(class_names=())
    condinst.save_checkpoint(model, tmp_path / "a.safetensors")
    with pytest.warns(UserWarning, match="in their order, because they have no names of classes: 'bar' from 0"):
        tuned = fine_tune(tmp_path / "a.safetensors", class_names=("bar", "disc", "star"))
    assert torch.equal(tuned.state_dict()["head.cls_logits.bias"], model.state_dict()["head.cls_logits.bias"])
