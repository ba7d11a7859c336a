"""The study of a training step: its scene, its variants, its rows, and what it refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pycocotools import mask as coco_mask

from condinst.backends import registry
from condinst.benchmarking.machine import available_backends
from condinst.geometry import boxes_of_masks
from studies.tables import samples_table
from studies.training_step import (
    KERNELS,
    LOSSES,
    OBJECTS,
    REFERENCE,
    RULES,
    WHOLE,
    Step,
    check_results,
    losses_call,
    make_scene,
    measure_training_step,
    record_outputs,
    step_call,
)
from tests.models.tiny import TINY

CPU = torch.device("cpu")
SIZE = (64, 96)
ALL = TINY.replace(mask_loss_locations="all")


def _losses_call(folder: Path) -> partial[Step]:
    path = folder / "outputs.pt"
    record_outputs(ALL, SIZE, CPU, path)
    return partial(losses_call, ALL, SIZE, CPU, path)


def test_scene() -> None:
    images, targets = make_scene((160, 224), 3, CPU)
    again = make_scene((160, 224), 3, CPU)[1]
    assert [list(image.shape) for image in images] == [[3, 160, 224]] * 2
    assert [len(target["labels"]) for target in targets] == list(OBJECTS)
    for target, same in zip(targets, again, strict=True):
        assert target["rles"] == same["rles"] and set(target["labels"].tolist()) <= {0, 1, 2}
        masks = torch.from_numpy(coco_mask.decode(target["rles"])).permute(2, 0, 1).bool()
        assert target["boxes"].equal(boxes_of_masks(masks))
        x1, y1, x2, y2 = target["boxes"].T
        assert (torch.maximum(x2 - x1, y2 - y1) <= 80 + 1).all()
        inside = (x1 > 0) & (y1 > 0) & (x2 < 224) & (y2 < 160)
        areas = masks.sum((1, 2))[inside]
        assert len(areas) > 5 and (areas > 0.95 * torch.pi * 8**2).all()


def test_losses_alone_are_those_of_the_step(tmp_path: Path) -> None:
    (of_step,) = step_call(ALL, SIZE, CPU, REFERENCE)()
    losses, *grads = _losses_call(tmp_path)(REFERENCE)()
    torch.testing.assert_close(losses, of_step)
    assert len(grads) == 5 and all(grad.abs().sum() > 0 for grad in grads)


def test_a_step_moves_the_weights() -> None:
    call = step_call(ALL, SIZE, CPU, KERNELS)
    (first,), (second,) = call(), call()
    assert second.sum() < first.sum()


@pytest.mark.skipif("cpp" not in available_backends("dynamic_mask_loss", CPU), reason="the kernels are not built")
def test_variants_are_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any, **options: Any) -> torch.Tensor:
        calls.append(args)
        return loss(*args, **options)

    key = ("dynamic_mask_loss", "reference")
    loss = registry._implementations[key].call
    monkeypatch.setitem(registry._implementations, key, registry.Implementation(counted))
    make_call = _losses_call(tmp_path)
    for variant, expected in ((KERNELS, 0), (REFERENCE, 1)):
        make_call(variant)()
        assert len(calls) == expected, variant


def test_wrong_results_are_refused(tmp_path: Path) -> None:
    expected = _losses_call(tmp_path)(REFERENCE)()
    check_results(expected, KERNELS, tuple(part.clone() for part in expected))
    losses, first, *rest = expected
    with pytest.raises(AssertionError, match="kernels, losses: relative error 0.001"):
        check_results(expected, KERNELS, (losses * 1.001, first, *rest))
    with pytest.raises(AssertionError, match="kernels, gradient 1: relative error 0.01"):
        check_results(expected, KERNELS, (losses, first * 1.01, *rest))
    with pytest.raises(AssertionError, match="kernels: losses .*nan"):
        check_results(expected, KERNELS, (losses * torch.nan, first, *rest))


def test_study() -> None:
    rows = measure_training_step(CPU, TINY, size=SIZE, rounds=2, rounds_of_losses=2)
    assert [(row.op, row.variant) for row in rows] == [
        (op, variant) for op in (WHOLE, LOSSES) for _ in RULES for variant in (REFERENCE, KERNELS)
    ]
    for row in rows:
        assert row.op == row.study and row.direction == "training" and row.baseline == REFERENCE
        assert 0 < row.p20_ms <= row.p50_ms <= row.p80_ms and row.peak_mib > 0 and row.floor_ms > 0
        assert (row.num_instances or 0) > 0 and row.ratio is not None
    step, of_losses = rows[0], rows[4]
    assert step.num_instances == of_losses.num_instances and step.floor_ms > of_losses.floor_ms
    table = samples_table(rows[4:])
    assert table.columns[0] == LOSSES and table.columns[1].startswith("64 per image: ")
    assert [line[0] for line in table.cells] == [REFERENCE, KERNELS]
