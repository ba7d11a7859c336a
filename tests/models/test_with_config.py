"""`CondInst.with_config` and `read_config`: another config for the same weights, and a config without a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import condinst
from condinst import CheckpointError, CondInst, CondInstConfig
from condinst.fields import flat_values
from condinst.models.adjustable import ADJUSTABLE_FIELDS
from condinst.models.checkpoints import read_config
from tests.models.adelaidet import SMALL, adelaidet_state, save
from tests.models.tiny import make_image, make_model

MODELS = Path(condinst.__file__).parent / "models"


def test_other_thresholds_for_the_same_weights() -> None:
    model, image = make_model(), make_image(64, 64)
    threshold = float(model([image])[0]["scores"].median())
    strict = model.with_config(score_threshold=threshold, max_detections=3)
    assert strict.config == model.config.replace(score_threshold=threshold, max_detections=3)
    assert model.config.score_threshold == 0.0
    (expected,) = make_model(score_threshold=threshold, max_detections=3)([image])
    (result,) = strict([image])
    assert len(result["scores"]) == 3
    for name, value in expected.items():
        assert torch.equal(result[name], value), name


def test_weights_are_shared_but_parameters_are_not() -> None:
    model = make_model(cls_loss_normalizer="moving_fg", freeze_at=2, backbone_norm="FrozenBN")
    model.detection_loss.moving_num_positives.fill_(7.0)
    other = model.with_config(pixel_mean=(1.0, 2.0, 3.0)).requires_grad_(False)
    for (name, value), (_, shared) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert value.data_ptr() == shared.data_ptr(), name
    assert any(parameter.requires_grad for parameter in model.parameters())
    assert other.detection_loss.moving_num_positives == 7.0
    assert other.pixel_mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert model.pixel_mean.flatten().tolist() == pytest.approx(model.config.pixel_mean)


@pytest.mark.parametrize("training", [False, True])
def test_mode_and_frozen_stages_are_kept(training: bool) -> None:
    model = make_model(freeze_at=2).train(training)
    model.mask_branch.requires_grad_(False)
    other = model.with_config(nms="mask")
    assert all(module.training == training for module in other.modules())
    for (name, old), (_, new) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert old.requires_grad == new.requires_grad, name


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"neck_norm": "BN", "num_classes": 5}, ValueError, "^num_classes, neck_norm: cannot change in a model that"),
        ({"fpn_channels": 96, "nms_threshold": 0.5}, ValueError, "^fpn_channels: cannot change"),
        ({"nms_treshold": 0.5}, ValueError, "did you mean 'nms_threshold'"),
        ({"nms_threshold": 2.0}, ValueError, "nms_threshold: expected a number in 0..1"),
        ({"nms_threshold": "high"}, TypeError, "nms_threshold: expected float"),
    ],
)
def test_what_cannot_change(overrides: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_model().with_config(**overrides)


def test_a_field_of_the_network_may_be_repeated() -> None:
    model = make_model()
    assert model.with_config(num_classes=model.config.num_classes, nms_threshold=0.5).config.nms_threshold == 0.5


def test_no_layer_is_built_from_an_adjustable_field() -> None:
    names = set(flat_values(CondInstConfig()))
    assert names >= ADJUSTABLE_FIELDS
    layers = [path for folder in ("backbones", "necks", "heads") for path in (MODELS / folder).glob("*.py")]
    assert layers
    used = {name for path in layers for name in re.findall(r"\bconfig\.(\w+)", path.read_text())}
    assert "num_classes" in used and not used & ADJUSTABLE_FIELDS


def test_the_config_of_our_file_is_read_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(nms_threshold=0.45)
    condinst.save_checkpoint(model, tmp_path / "ours.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(CondInst, "__init__", None)
        patch.setattr("condinst.models.checkpoints.checkpoint.read_content", None)
        assert read_config(tmp_path / "ours.safetensors") == model.config


def test_the_config_of_a_foreign_file_is_that_of_its_model(tmp_path: Path) -> None:
    path = save(adelaidet_state(CondInst(SMALL)), tmp_path / "model.pth")
    assert read_config(path) == condinst.load(path).config


def test_configs_of_built_in_models() -> None:
    assert read_config("condinst_nano") == condinst.load("condinst_nano").config
    assert read_config("condinst_r50_1x") == condinst.load_config("condinst_r50_1x")  # it has no weights


def test_files_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a weights file or one of .*condinst_r50_1x"):
        read_config("condinst_r52")
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name}: no such file"):
            read_config(tmp_path / name)
    (tmp_path / "damaged.safetensors").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=r"damaged\.safetensors: expected a file of weights, got a text file"):
        read_config(tmp_path / "damaged.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="expected a condinst safetensors file or an AdelaiDet"):
        read_config(tmp_path / "other.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "bad.safetensors", metadata={"condinst_config": '{"nms": 3}'})
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: the config of the file: nms: expected str"):
        read_config(tmp_path / "bad.safetensors")
