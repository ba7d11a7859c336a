"""`explain_instance`: masks from parts of the inputs, and the layers of the mask head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import condinst
from condinst.models.explanations import INPUTS, explain_instance
from tests.models.tiny import make_image, make_model

NUCLEI = Path(__file__).parents[2] / "examples" / "nuclei"


@pytest.mark.parametrize("instance", [0, 7])
def test_both_inputs_give_the_mask_of_the_model(instance: int) -> None:
    model = condinst.load("condinst_nano", min_size_test=192, max_size_test=192)
    found = explain_instance(model, NUCLEI / "33a5b0ff232b4257.jpg", instance)
    with torch.no_grad():
        batch = model.preprocess([found.image], resize=False)
        detections = model.detect(model.network(batch.pixels), batch)
        logits = detections.mask_logits(detections.list_places(0, instance + 1))
    torch.testing.assert_close(found.logits[INPUTS.index("both")], logits[instance], rtol=1e-5, atol=1e-4)
    assert found.class_name == "nucleus" and found.score == float(detections.scores[0, instance])
    assert found.box is not None and detections.boxes is not None
    assert torch.equal(found.box, detections.boxes[0, instance])
    assert found.num_instances == len(model.predict(NUCLEI / "33a5b0ff232b4257.jpg"))
    # of these nuclei, each kind of input alone gives another mask
    masks = found.logits > 0
    assert (masks[0] != masks[2]).any() and (masks[1] != masks[2]).any()


def test_the_network_runs_once() -> None:
    model = make_model()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    explain_instance(model, make_image(60, 50))
    assert len(calls) == 1


@pytest.mark.parametrize("coordinates", ["relative", "absolute"])
def test_inputs_are_left_out(coordinates: str) -> None:
    model = make_model(mask_head_coordinates=coordinates)
    found = explain_instance(model, make_image(60, 50), 1)
    features = found.inputs.shape[1:]
    assert found.image.shape == (3, 77, 64) and tuple(features) == (96 // 8, 64 // 8)
    assert found.inputs.shape[0] == 10 and found.logits.shape == (3, 96 // 4, 64 // 4)
    assert [len(layer) for layer in found.activations] == [8, 8, 1]
    assert all(layer.shape[1:] == features for layer in found.activations)
    assert all((layer >= 0).all() for layer in found.activations[:-1])
    upsampled = condinst.ops.aligned_bilinear(found.activations[-1], 2)
    torch.testing.assert_close(found.logits[2], upsampled[0])


def test_relative_coordinates_are_0_at_the_location() -> None:
    """There, leaving them out changes nothing."""
    model = make_model(head_in_features=("p3",), sizes_of_interest=())
    found = explain_instance(model, make_image(60, 50))
    x, y = (found.location.long() // 4).tolist()
    torch.testing.assert_close(found.logits[1, y, x], found.logits[2, y, x])
    assert (found.inputs[:2, y // 2, x // 2] == 0).all()
    assert not torch.allclose(found.logits[1], found.logits[2])


def test_coordinates_only_ignores_the_image() -> None:
    """With a controller that looks at nothing, masks from coordinates are the same for all images."""
    model = make_model()
    torch.nn.init.zeros_(model.head.controller.weight)
    torch.nn.init.normal_(model.head.controller.bias)  # type: ignore[arg-type]
    torch.nn.init.zeros_(model.head.bbox_pred.weight)
    torch.nn.init.zeros_(model.head.cls_logits.weight)
    torch.nn.init.zeros_(model.head.ctrness.weight)
    one, other = (explain_instance(model, make_image(64, 64, seed), 0) for seed in (1, 2))
    assert torch.equal(one.location, other.location)
    assert torch.equal(one.logits[0], other.logits[0])
    assert not torch.equal(one.logits[1], other.logits[1])


def test_no_such_instance() -> None:
    model = make_model()
    with pytest.raises(ValueError, match=r"instance: expected 0\.\.19, the rank by score of 20 .* by tiny, got 20"):
        explain_instance(model, make_image(64, 64), 20)
    with pytest.raises(ValueError, match="got -1"):
        explain_instance(model, make_image(64, 64), -1)
    nothing = make_model(score_threshold=1.0).train()
    with pytest.raises(ValueError, match="instance: expected an image with instances found by tiny, got 0"):
        explain_instance(nothing, make_image(64, 64))
    assert nothing.training


def test_one_kind_of_input_only() -> None:
    with pytest.raises(ValueError, match="expected a mask head on coordinates and features"):
        explain_instance(make_model(mask_head_coordinates="none"), make_image(64, 64))


def test_without_boxes() -> None:
    found = explain_instance(make_model(nms="mask"), make_image(64, 64))
    assert found.box is None and found.logits.shape == (3, 16, 16)
