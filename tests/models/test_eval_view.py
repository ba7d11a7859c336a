"""`predict` in any mode and from several threads: what it must neither change nor depend on."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condinst.models.eval_view import eval_view
from condinst.models.predictions import Predictions
from tests.models.tiny import make_image, make_model

IMAGES = [make_image(60, 80, seed) for seed in range(4)]


def assert_same(first: Predictions, second: Predictions) -> None:
    assert torch.equal(first.boxes, second.boxes) and torch.equal(first.scores, second.scores)
    assert first.rles == second.rles


def test_threads_on_a_model_in_training_mode() -> None:
    model = make_model()
    expected = [model.predict(image) for image in IMAGES]
    model.train()
    model.backbone.get_submodule("bn1").eval()  # a part in another mode
    modes = [part.training for part in model.modules()]
    before = copy.deepcopy(model.state_dict())

    def predict(image: Tensor) -> Predictions:
        return model.predict(image)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(predict, IMAGES * 4))
    for result, right in zip(results, expected * 4, strict=True):
        assert_same(result, right)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_that_change_while_it_runs_do_not_matter() -> None:
    model = make_model()
    expected = model.predict(IMAGES[0])

    def change_mode(*_: object) -> None:  # as another thread might
        model.train()

    model.backbone.register_forward_pre_hook(change_mode)
    assert_same(model.predict(IMAGES[0]), expected)
    assert model.training


def test_later_changes_are_followed() -> None:
    model, other = make_model().train(), make_model()
    model.predict(IMAGES[0])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    model.load_state_dict(other.state_dict())
    assert_same(model.predict(IMAGES[0]), other.predict(IMAGES[0]))
    other.head.bbox_pred = model.head.bbox_pred = nn.Conv2d(64, 4, 3, padding=1)
    assert_same(model.predict(IMAGES[0]), other.predict(IMAGES[0]))
    assert_same(model.double().float().predict(IMAGES[0]), other.predict(IMAGES[0]))
    assert_same(
        model.with_config(max_detections=3).predict(IMAGES[0]), other.with_config(max_detections=3).predict(IMAGES[0])
    )


def test_a_layer_in_two_places_stays_one_layer() -> None:
    layer = nn.BatchNorm1d(2)
    view = eval_view(nn.Sequential(layer, layer).train())
    assert view[0] is view[1] and not view[0].training and view[0].weight is layer.weight and layer.training


def test_compiled_modules() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module[0] = torch.compile(module[0], backend="eager")  # type: ignore[assignment]
    module.eval()
    assert eval_view(module) is module
    module.train()
    view = eval_view(module)
    x = torch.rand(3, 2)
    torch.testing.assert_close(view(x), module[0](x))
    module.compile(backend="eager")
    torch.testing.assert_close(eval_view(module)(x), module[0](x))


def test_with_config_keeps_the_mode_of_each_part() -> None:
    model = make_model().train()
    model.backbone.eval()
    other = model.with_config(score_threshold=0.5)
    assert [part.training for part in other.modules()] == [part.training for part in model.modules()]


def _without_memory(*_: Any, **__: Any) -> None:
    raise MemoryError("not enough memory")


def test_a_bad_image_in_a_list(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    sources: list[Any] = [IMAGES[0], "no/such.png", IMAGES[1]]
    with pytest.raises(ValueError, match=r"no/such.png: no such file"):
        model.predict(sources)
    first, bad, last = model.predict(sources, errors="skip")
    assert bad is None and first is not None and last is not None
    assert_same(last, model.predict(IMAGES[1]))
    assert caplog.messages == ["skipped image 1 of the list: no/such.png: no such file"]
    monkeypatch.setattr(model, "forward", _without_memory)
    assert model.predict([IMAGES[0]], errors="skip") == [None]
    with pytest.raises(ValueError, match="errors: expected raise or skip, got 'ignore'"):
        model.predict(sources, errors="ignore")  # type: ignore[call-overload]
