"""ImageNet weights for backbones: torchvision's, detectron2's, Caffe's and ucbdrive's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import condinst
from condinst import CheckpointError, CondInst
from condinst.models.checkpoints.backbone import load_backbone_state
from tests.models.adelaidet import SMALL, adelaidet_names, save

SHARED_WEIGHTS = Path(__file__).parents[3] / "shared/weights/resnet50_imagenet_caffe_fp16.safetensors"


def test_downloaded_weights_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the hash in their name, as torchvision's own models do."""
    asked = {}

    def download(url: str, **options: Any) -> dict[str, Tensor]:
        asked.update(options)
        return {}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    model = CondInst(SMALL.replace(stride_in_1x1=False, pixel_order="rgb"))
    with pytest.raises(CheckpointError, match="torchvision: the weights do not fit"):
        condinst.load_backbone(model, "torchvision")
    assert asked["check_hash"] is True


def caffe2_state(model: CondInst) -> dict[str, np.ndarray]:
    """The backbone under the names of MSRA's R-50.pkl: no running statistics, a classifier beside it."""
    blobs = {"fc1000_w": np.zeros((10, 4), np.float32), "fc1000_b": np.zeros(10, np.float32)}
    for key, value in model.backbone.state_dict().items():
        if "running" in key:
            continue
        array = value.numpy()
        module, part = key.rsplit(".", 1)
        suffix = {"weight": "s", "bias": "b"}[part]
        if module == "conv1":
            blobs["conv1_w"] = array
        elif module == "bn1":
            blobs[f"res_conv1_bn_{suffix}"] = array
        else:
            layer, block, *inner = module.split(".")
            stem = f"res{int(layer[-1]) + 1}_{block}_branch"
            if inner[0] == "downsample":
                blobs[f"{stem}1_w" if inner[1] == "0" else f"{stem}1_bn_{suffix}"] = array
            else:
                letter = "abc"[int(inner[0][-1]) - 1]
                blobs[f"{stem}2{letter}_w" if "conv" in inner[0] else f"{stem}2{letter}_bn_{suffix}"] = array
    return blobs


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_msra_backbone(tmp_path: Path, protocol: int) -> None:
    config = SMALL.replace(backbone="resnet50")
    torch.manual_seed(2)
    source, target = CondInst(config), CondInst(config)
    for name, value in source.backbone.named_buffers():
        torch.nn.init.normal_(value) if not name.endswith(("running_mean", "running_var")) else None
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(caffe2_state(source), protocol=protocol))
    condinst.load_backbone(target, tmp_path / "R-50.pkl")
    block, expected_block = cast(Any, target.backbone).layer3[2], cast(Any, source.backbone).layer3[2]
    assert torch.equal(block.conv3.weight, expected_block.conv3.weight)
    norm = block.bn3
    x = torch.randn(1, norm.weight.shape[0], 2, 2)
    # the factor is the weight itself
    expected = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-6)


def test_torchvision_and_detectron2_names() -> None:
    source, target = CondInst(SMALL), CondInst(SMALL)
    state = source.backbone.state_dict()
    load_backbone_state(target, state | {"fc.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}, "torchvision")
    assert torch.equal(target.backbone.state_dict()["conv1.weight"], source.backbone.state_dict()["conv1.weight"])
    other = CondInst(SMALL)
    names = {ours: theirs for ours, theirs in adelaidet_names(SMALL).items() if ours.startswith("backbone.")}
    detectron2 = {names["backbone." + key].removeprefix("backbone.bottom_up."): value for key, value in state.items()}
    load_backbone_state(other, detectron2 | {"stem.fc.weight": torch.zeros(1)}, "detectron2")
    for key, value in state.items():
        assert torch.equal(other.backbone.state_dict()[key], value), key


@pytest.mark.parametrize("prefix", ["", "backbone.bottom_up."])
def test_ucbdrive_names(tmp_path: Path, prefix: str) -> None:
    config = SMALL.replace(backbone="dla34", backbone_norm="BN", freeze_at=0)
    torch.manual_seed(3)
    source, target = CondInst(config), CondInst(config)
    # the real file is older than num_batches_tracked
    state = {k: torch.rand_like(v) for k, v in source.backbone.state_dict().items() if v.is_floating_point()}
    # a classifier, and the projection that ucbdrive's code has and does not use
    others = {"fc.weight": torch.zeros(10, 64, 1, 1), "fc.bias": torch.zeros(10)}
    others |= {prefix + f"level{level}.project.0.weight": torch.zeros(2, 2, 1, 1) for level in (3, 4)}
    condinst.load_backbone(target, save({prefix + key: v for key, v in state.items()} | others, tmp_path / "dla34.pth"))
    for key, value in state.items():
        assert torch.equal(target.backbone.state_dict()[key], value), key
    del state["level5.project.0.weight"]
    with pytest.raises(CheckpointError, match="1 missing: level5.project.0.weight"):
        condinst.load_backbone(target, save(state, tmp_path / "incomplete.pth"))


def test_torchvision_has_no_dla() -> None:
    model = CondInst(SMALL.replace(backbone="dla34", freeze_at=0, stride_in_1x1=False, pixel_order="rgb"))
    with pytest.raises(ValueError, match="torchvision has no weights of dla34"):
        condinst.load_backbone(model, "torchvision")


@pytest.mark.parametrize("with_offsets", [False, True])
def test_backbone_with_deformable_convolutions(with_offsets: bool) -> None:
    """ImageNet weights have no offsets: these start at zero, and are read where a file has them."""
    config = SMALL.replace(backbone="resnet50", backbone_deformable=("res3.1", "res5"))
    source = CondInst(config if with_offsets else config.replace(backbone_deformable=()))
    for key, value in source.backbone.state_dict().items():
        if ".offset." in key:
            torch.nn.init.normal_(value)
    names = {ours: theirs for ours, theirs in adelaidet_names(source.config).items() if ours.startswith("backbone.")}
    expected = source.backbone.state_dict()
    state = {names["backbone." + key].removeprefix("backbone.bottom_up."): value for key, value in expected.items()}
    target = CondInst(config)
    load_backbone_state(target, state, "detectron2")
    loaded = target.backbone.state_dict()
    offsets = [key for key in loaded if ".offset." in key]
    assert len(offsets) == 8 and all(loaded[key].any() == with_offsets for key in offsets)
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    if with_offsets:
        del state["res5.2.conv2_offset.bias"]
        with pytest.raises(CheckpointError, match="1 missing: layer4.2.conv2.offset.bias"):
            load_backbone_state(target, state, "detectron2")


def test_backbone_of_another_depth_is_refused() -> None:
    source, target = CondInst(SMALL.replace(backbone="resnet34")), CondInst(SMALL)
    with pytest.raises(CheckpointError, match="unexpected: layer1.2.conv1.weight"):
        load_backbone_state(target, source.backbone.state_dict(), "resnet34")


def test_backbone_without_some_statistics_is_refused() -> None:
    state = CondInst(SMALL).backbone.state_dict()
    del state["layer1.0.bn1.running_var"]
    with pytest.raises(CheckpointError, match="1 missing: layer1.0.bn1.running_var"):
        load_backbone_state(CondInst(SMALL), state, "resnet18")


@pytest.mark.skipif(not SHARED_WEIGHTS.is_file(), reason="needs the Caffe ResNet-50 of ../shared/weights")
def test_real_caffe_weights() -> None:
    model = CondInst(SMALL.replace(backbone="resnet50", backbone_base_channels=64))
    condinst.load_backbone(model, SHARED_WEIGHTS)
    loaded = model.backbone.state_dict()
    for key, value in load_file(SHARED_WEIGHTS).items():
        assert torch.equal(loaded[key], value.float()), key


def test_torchvision_weights_need_torchvisions_convention() -> None:
    with pytest.raises(ValueError, match="stride_in_1x1 = False and pixel_order = 'rgb'"):
        condinst.load_backbone(CondInst(SMALL), "torchvision")
