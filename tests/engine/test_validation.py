"""What a model is measured by, and data that does not fit it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from condinst import CondInst
from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.engine.config import TrainingConfig
from condinst.engine.training import train
from condinst.evaluation.evaluator import make_evaluator
from condinst.evaluation.panoptic import PanopticEvaluator
from tests.data.synthetic import write_panoptic, write_rectangles
from tests.models.tiny import TINY, tiny_panoptic_config


@pytest.fixture
def panoptic(tmp_path: Path) -> CocoPanoptic:
    return CocoPanoptic(write_panoptic(tmp_path / "panoptic"), tmp_path / "panoptic/images")


@pytest.fixture
def instances(tmp_path: Path) -> CocoInstances:
    return CocoInstances(write_rectangles(tmp_path / "instances"), tmp_path / "instances/images")


def panoptic_model(data: CocoPanoptic, **overrides: Any) -> CondInst:
    torch.manual_seed(0)
    fields = {
        "num_classes": 2,
        "class_names": data.classes.class_names,
        "num_stuff_classes": 2,
        "stuff_names": data.classes.stuff_names,
    }
    return CondInst(tiny_panoptic_config(**fields | overrides))


def test_a_panoptic_model_is_measured_by_pq(panoptic: CocoPanoptic) -> None:
    model = panoptic_model(panoptic)
    evaluator = make_evaluator(panoptic, model.config)
    assert isinstance(evaluator, PanopticEvaluator)
    row = evaluator.columns(evaluator.evaluate(model, max_images=2))
    assert list(row) == ["PQ", "SQ", "RQ", "PQ_things", "PQ_stuff"] and evaluator.best_metric == "PQ"
    assert 0 <= row["PQ"] <= 1 and row["PQ"] == pytest.approx((row["PQ_things"] + row["PQ_stuff"]) / 2)
    assert evaluator.category_ids == [1, 6, 4, 9]


def test_instances_are_measured_by_ap(instances: CocoInstances) -> None:
    model = CondInst(TINY.replace(num_classes=len(instances.classes.category_ids)))
    evaluator = make_evaluator(instances, model.config)
    row = evaluator.columns(evaluator.evaluate(model))
    assert evaluator.best_metric == "mask_AP" and {"mask_AP", "box_AP", "mask_AP50"} <= set(row)


def test_panoptic_validation_of_an_instance_model(panoptic: CocoPanoptic) -> None:
    with pytest.raises(
        ValueError, match="expected a panoptic model for panoptic annotations, and tiny has no semantic"
    ):
        make_evaluator(panoptic, TINY.replace(num_classes=2))


def test_a_missing_png_is_named_before_the_training(panoptic: CocoPanoptic) -> None:
    missing = panoptic.segments_path(2)
    missing.unlink()
    evaluator = make_evaluator(panoptic, panoptic_model(panoptic).config)
    with pytest.warns(UserWarning, match=f"3 of 4 images can be used; .*{missing.name}: no such file"):
        evaluator.check()
    for index in range(4):
        panoptic.segments_path(index).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="no such file; 4 of 4 images"):
        evaluator.check()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_stuff_classes": 3, "stuff_names": ()}, "num_stuff_classes: expected 2, the categories of .*, got 3"),
        ({"num_classes": 5, "class_names": ()}, "num_classes: expected 2, the categories of .*, got 5"),
    ],
)
def test_other_classes_than_the_data(
    panoptic: CocoPanoptic, tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(panoptic_model(panoptic, **overrides), TrainingConfig(steps=1), panoptic, tmp_path / "run")


def test_a_panoptic_model_needs_panoptic_data(instances: CocoInstances, tmp_path: Path) -> None:
    model = CondInst(tiny_panoptic_config(num_classes=1, class_names=()))
    with pytest.raises(
        ValueError, match="expected panoptic annotations for tiny_panoptic, a panoptic model, got instan"
    ):
        train(model, TrainingConfig(steps=1), instances, tmp_path / "run")


def test_a_validation_that_fails_loses_no_steps(panoptic: CocoPanoptic, tmp_path: Path) -> None:
    """A file that is damaged while the training runs."""
    model, run = panoptic_model(panoptic), tmp_path / "run"
    config = TrainingConfig(steps=4, validate_every=2, batch_size=2, num_workers=0, base_batch_size=0)
    validation = CocoPanoptic(write_panoptic(tmp_path / "other"), tmp_path / "other/images")
    forward = model.forward

    def damage(*args: Any, **options: Any) -> Any:
        if not model.training:
            validation.segments_path(3).write_bytes(b"no PNG")
        return forward(*args, **options)

    model.forward = damage  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="3.png"):
        train(model, config, panoptic, run, validation=validation, progress=False)
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 2


def test_damaged_segments_are_passed_over(
    panoptic: CocoPanoptic, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a damaged image: named, counted, and another one takes its place."""
    damaged = panoptic.segments_path(1)
    damaged.write_bytes(damaged.read_bytes()[:60])
    config = TrainingConfig(steps=3, batch_size=2, num_workers=0, base_batch_size=0, learning_rate=1e-3)
    with caplog.at_level(logging.WARNING):
        train(panoptic_model(panoptic), config, panoptic, tmp_path / "run", progress=False)
    assert [record.getMessage() for record in caplog.records if damaged.name in record.getMessage()]
    assert (tmp_path / "run/log.csv").read_text().splitlines()[-1].endswith(",1")  # the column `unreadable`
