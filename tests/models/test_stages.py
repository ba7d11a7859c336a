"""Between network and results nothing depends on values: sizes are fixed, counts stay on the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from condinst import CondInst
from condinst.models.detections import Detections
from condinst.models.preprocessing import ImageBatch
from condinst.models.results import drop_invisible
from tests.models.tiny import TINY, make_image, make_model

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"max_detections": 0},
    {"score_rule": "product", "clip_boxes": True, "score_threshold": 0.01},
    {"nms": "mask"},
    {"nms": "matrix"},
)


def run_stages(model: CondInst, batch: ImageBatch) -> tuple[Detections, Tensor]:
    """The visible detections, and the mask logits of all places."""
    detections = drop_invisible(model.detect(model.network(batch.pixels), batch), batch)
    num_images, num_places = detections.labels.shape
    return detections, detections.mask_logits(torch.arange(num_images * num_places, device=detections.labels.device))


@pytest.fixture
def without_checks_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, operators read indices to check them; inside ``torch.compile`` and on a GPU they do not."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


@pytest.mark.parametrize("overrides", VARIANTS)
def test_no_size_depends_on_values(overrides: dict[str, Any], without_checks_of_values: None) -> None:
    """Fake tensors have no values: whatever asks for one, or for a size that depends on one, raises."""
    with FakeTensorMode(), torch.no_grad():
        model = CondInst(TINY.replace(**overrides)).eval()
        batch = model.preprocess([torch.zeros(3, 64, 96, dtype=torch.uint8)] * 2, resize=False)
        detections, logits = run_stages(model, batch)
        num_places = detections.num_places
        assert num_places == 2 * TINY.max_detections or overrides == {"max_detections": 0}
        assert (detections.boxes is None) == (overrides.get("nms", "box") != "box")
        assert detections.boxes is None or detections.boxes.shape == (2, num_places, 4)
        for values in (detections.scores, detections.labels, detections.location_indices):
            assert values.shape == (2, num_places)
        assert detections.counts.shape == (2,) and logits.shape == (2 * num_places, 16, 24)


def test_fake_tensors_refuse_what_waits_for_the_device(without_checks_of_values: None) -> None:
    with FakeTensorMode(), torch.no_grad():
        model = CondInst(TINY).eval()
        batch = model.preprocess([torch.zeros(3, 64, 96, dtype=torch.uint8)], resize=False)
        detections, _ = run_stages(model, batch)
        with pytest.raises(DataDependentOutputException):
            detections.counts.tolist()
        with pytest.raises(DynamicOutputShapeException):
            _ = detections.scores[detections.is_taken]
        with pytest.raises(DynamicOutputShapeException):
            detections.labels.nonzero()


@pytest.mark.parametrize("overrides", VARIANTS)
def test_free_places_come_last(overrides: dict[str, Any]) -> None:
    model = make_model(**{"max_detections": 300, "score_threshold": 0.07} | overrides)
    batch = model.preprocess([make_image(50, 70), make_image(64, 64, 1)], resize=False)
    with torch.no_grad():
        detections, logits = run_stages(model, batch)
    is_taken = torch.arange(detections.num_places) < detections.counts[:, None]
    assert torch.equal(is_taken, detections.is_taken) and 0 < int(is_taken.sum()) < is_taken.numel()
    assert not detections.scores[~is_taken].any()
    assert (detections.labels[~is_taken] == -1).all() and (detections.location_indices[~is_taken] == -1).all()
    assert (detections.location_indices[is_taken] >= 0).all() and logits.isfinite().all()
    for image, count in enumerate(detections.counts.tolist()):
        scores = detections.scores[image, :count]
        assert torch.equal(scores, scores.sort(descending=True).values)


def test_keep_moves_detections_to_the_front() -> None:
    model = make_model(max_detections=5)
    batch = model.preprocess([make_image(50, 70), make_image(64, 64, 1)], resize=False)
    with torch.no_grad():
        detections, _ = run_stages(model, batch)
    chosen = torch.zeros_like(detections.is_taken)
    chosen[0, 1] = chosen[0, 3] = chosen[1, -1] = True  # the last one is a free place
    kept = detections.keep(chosen)
    assert kept.counts.tolist() == [2, 0] and kept.image_indices.max() == 0
    assert kept.boxes is not None and detections.boxes is not None
    assert torch.equal(kept.boxes[0, :2], detections.boxes[0, [1, 3]]) and not kept.boxes[0, 2:].any()
    assert torch.equal(kept.scores[0, :2], detections.scores[0, [1, 3]]) and not kept.scores[1].any()
    before, after = detections.mask_logits(torch.tensor([1, 3])), kept.mask_logits(kept.list_places(0, 2))
    assert torch.equal(before, after)
