"""Loading and saving whole models: AdelaiDet's naming and our own files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

import condinst
from condinst import CheckpointError, CondInst
from condinst.models.checkpoints.adelaidet import convert_state, detect_config
from condinst.models.checkpoints.errors import check_keys
from tests.goldens.recipe import read_keys
from tests.models.adelaidet import KEY_LISTS, SMALL, adelaidet_state, save
from tests.models.tiny import make_image, make_model

ADELAIDET_KEYS = sorted(path.name for path in KEY_LISTS.glob("*.tsv") if not path.name.startswith("mmdet"))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("complete", [False, True])
def test_adelaidet_file(tmp_path: Path, wrapped: bool, complete: bool) -> None:
    torch.manual_seed(1)
    model = CondInst(SMALL).eval()
    state = adelaidet_state(model)
    if not complete:  # files of 2020
        state = {key: v for key, v in state.items() if not key.endswith(("_iter", "num_batches_tracked"))}
    path = save({"model": state, "iteration": 3} if wrapped else OrderedDict(state), tmp_path / "model.pth")
    loaded = condinst.load(path, mask_output_stride=8)
    assert not loaded.training and loaded.config.mask_output_stride == 8
    assert loaded.config.replace(mask_output_stride=4, name=SMALL.name, class_names=(), category_ids=()) == SMALL
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


@pytest.mark.parametrize(
    "overrides",
    [
        {"backbone": "resnet18"},
        {"backbone": "resnet34"},
        {"backbone": "resnet101"},
        {"backbone_norm": "SyncBN", "freeze_at": 0},
        {"backbone": "dla34", "freeze_at": 0},
        {"backbone": "dla34", "backbone_norm": "SyncBN", "freeze_at": 0},
        {"num_classes": 7},
        {"semantic_loss": True},
        {"num_share_convs": 4, "num_cls_convs": 0, "num_box_convs": 0},
        {"num_cls_convs": 2, "num_box_convs": 3, "head_norm": "none"},
        {"head_norm": "SyncBN"},
        {"head_deformable": True},
        {"backbone": "resnet50", "backbone_deformable": ("res2.1", "res3", "res4.0", "res4.3", "res5.0")},
        {"neck": "bifpn", "bifpn_repeats": 3},
        {"neck": "bifpn", "bifpn_repeats": 1, "backbone": "resnet50", "backbone_deformable": ("res3", "res4", "res5")},
        {
            "neck": "bifpn",
            "bifpn_repeats": 2,
            "fpn_in_features": ("res2", "res3", "res4", "res5"),
            "mask_branch_in_features": ("p2", "p3", "p4", "p5"),
        },
        {"fpn_in_features": ("res2", "res3", "res4", "res5"), "mask_branch_in_features": ("p2", "p3", "p4", "p5")},
        {"fpn_top_levels": 0, "head_in_features": ("p3", "p4", "p5"), "sizes_of_interest": (64, 128)},
        {"sizes_of_interest": (32, 64, 128, 256)},
        {"mask_feature_channels": 16},
        {"mask_head_layers": 2, "mask_head_channels": 4},
        {"mask_head_coordinates": "none"},
        {"mask_branch_in_features": ("p3",), "num_mask_branch_convs": 2, "mask_branch_norm": "none"},
        {"use_scale": False},
    ],
)
def test_architecture_is_detected(tmp_path: Path, overrides: dict[str, Any]) -> None:
    config = SMALL.replace(**overrides)
    path = save(adelaidet_state(CondInst(config)), tmp_path / "model.pth")
    # what a state dict cannot tell stays at AdelaiDet's default
    untold = {"name": config.name, "class_names": (), "category_ids": ()}
    assert condinst.load(path).config.replace(**untold) == config


def test_coco_model_gets_class_names(tmp_path: Path) -> None:
    path = save(adelaidet_state(CondInst(SMALL)), tmp_path / "model.pth")
    config = condinst.load(path).config
    assert config.classes.class_names[79] == "toothbrush" and config.classes.category_ids[79] == 90


def test_semantic_branch_can_be_left_out(tmp_path: Path) -> None:
    path = save(adelaidet_state(CondInst(SMALL.replace(semantic_loss=True))), tmp_path / "model.pth")
    assert condinst.load(path).config.semantic_loss
    assert condinst.load(path, semantic_loss=False).mask_branch.logits is None


def test_config_that_does_not_fit(tmp_path: Path) -> None:
    path = save(adelaidet_state(CondInst(SMALL)), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="missing.*misshapen"):
        condinst.load(path, config="condinst_r50_1x")
    with pytest.raises(ValueError, match="mask_outptu_stride: not a field.*did you mean 'mask_output_stride'"):
        condinst.load(path, mask_outptu_stride=4)
    with pytest.raises(TypeError, match="config: expected a config, or the name or file of one, got int"):
        condinst.load(path, config=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("half", [False, True])
def test_our_file(tmp_path: Path, half: bool) -> None:
    model = make_model()
    condinst.save_checkpoint(model, tmp_path / "model.safetensors", half=half)
    loaded = condinst.load(tmp_path / "model.safetensors", score_threshold=0.1)
    assert loaded.config == model.config.replace(score_threshold=0.1)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3 if half else 0, atol=1e-4 if half else 0)
    if not half:
        (ours,), (theirs,) = model([make_image(40, 50)]), loaded.eval()([make_image(40, 50)])
        assert torch.equal(ours["boxes"][: len(theirs["boxes"])], theirs["boxes"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


def test_built_in_config_without_weights_warns() -> None:
    with pytest.warns(UserWarning, match="condinst_r50_1x: no weights come with this config"):
        model = condinst.load("condinst_r50_1x", num_classes=5)
    assert model.config.num_classes == 5 and not model.training


def test_unknown_source() -> None:
    with pytest.raises(ValueError, match="expected a weights file or one of .*condinst_r50_1x"):
        condinst.load("condinst_r52")
    with pytest.raises(CheckpointError, match="absent.pth: no such file"):
        condinst.load("absent.pth")


@pytest.mark.parametrize("keys", ADELAIDET_KEYS)
def test_published_keys_fit(keys: str) -> None:
    """Names and shapes of AdelaiDet's own models, on the meta device: every key is there and none is left."""
    with torch.device("meta"):
        state = {
            key: torch.empty(shape, dtype=getattr(torch, dtype)) for key, (shape, dtype) in read_keys(keys).items()
        }
    num_levels = len(state["mask_head.sizes_of_interest"])
    state["mask_head.sizes_of_interest"] = 64 * 2 ** torch.arange(num_levels)  # the one value that is read
    config = detect_config(state, keys)
    with torch.device("meta"):
        expected = CondInst(config).state_dict()
    check_keys(convert_state(state, config), expected, keys)


def test_a_loaded_model_is_a_new_one_with_other_weights(tmp_path: Path) -> None:
    """Also what a file does not hold: buffers that are constants, and which parameters are trained."""
    stuff = {"panoptic": True, "num_stuff_classes": 2, "panoptic_in_features": ("p3", "p4")}
    model = make_model(**stuff, backbone_norm="FrozenBN", freeze_at=2)
    condinst.save_checkpoint(model, tmp_path / "ours.safetensors")
    loaded = condinst.load(tmp_path / "ours.safetensors")
    for (name, value), (other, expected) in zip(loaded.named_buffers(), model.named_buffers(), strict=True):
        assert name == other and torch.equal(value, expected), name
    for (name, value), (other, expected) in zip(loaded.named_parameters(), model.named_parameters(), strict=True):
        assert name == other and torch.equal(value, expected) and value.requires_grad == expected.requires_grad, name


def test_sizes_of_interest_of_8_bits(tmp_path: Path) -> None:
    """PyTorch cannot tell whether such numbers are finite."""
    sizes = torch.tensor([64.0, 128, 256, 512, 1024]).to(torch.float8_e5m2)
    state = adelaidet_state(CondInst(SMALL)) | {"mask_head.sizes_of_interest": sizes}
    assert condinst.load(save(state, tmp_path / "model.pth")).config.sizes_of_interest == (64, 128, 256, 512)
