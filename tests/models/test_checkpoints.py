"""Loading and saving: AdelaiDet's naming, backbones, our own files, and files that are refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import condinst
from condinst import CheckpointError, CondInst, CondInstConfig
from condinst.models.checkpoints.adelaidet import convert_state, detect_config, rename_key
from condinst.models.checkpoints.backbone import load_backbone_state
from condinst.models.checkpoints.errors import check_keys
from condinst.models.checkpoints.model import fine_tune
from condinst.models.config_files import load_config
from tests.goldens.recipe import read_keys
from tests.models.tiny import make_image, make_model

KEY_LISTS = Path(__file__).parents[1] / "goldens"
ADELAIDET_KEYS = sorted(path.name for path in KEY_LISTS.glob("*.tsv") if not path.name.startswith("mmdet"))
SHARED_WEIGHTS = Path(__file__).parents[3] / "shared/weights/resnet50_imagenet_caffe_fp16.safetensors"
SMALL = CondInstConfig(backbone="resnet18", backbone_base_channels=8, fpn_channels=64, mask_branch_channels=8)


def adelaidet_state(model: CondInst) -> dict[str, Tensor]:
    """A model's weights under AdelaiDet's names."""
    names = adelaidet_names(model.config)
    return {names[key]: value.clone() for key, value in model.state_dict().items()} | {
        "mask_head.sizes_of_interest": torch.tensor(model.config.level_sizes_of_interest),
        "mask_head._iter": torch.zeros(1),
    }


def adelaidet_names(config: CondInstConfig) -> dict[str, str]:
    """AdelaiDet's name of each of our keys, from candidates written down by its rules (numerics 3)."""
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    candidates = [f"backbone.bottom_up.stem.conv1.{norm}{part}" for norm in ("", "norm.") for part in parts]
    for stage in range(2, 6):
        for block in range(23):
            for layer in ("conv1", "conv2", "conv3", "shortcut", "conv2_offset"):
                prefix = f"backbone.bottom_up.res{stage}.{block}.{layer}."
                candidates += [prefix + norm + part for norm in ("", "norm.") for part in parts]
    dla = (KEY_LISTS / "RT_DLA34.tsv").read_text().splitlines()
    candidates += [line.split("\t")[0] for line in dla if line.startswith("backbone.bottom_up.")]
    for level in range(2, 6):
        candidates += [f"backbone.fpn_{kind}{level}.{part}" for kind in ("lateral", "output") for part in parts]
    candidates += [f"backbone.top_block.p{level}.{part}" for level in (6, 7) for part in parts]
    if config.neck == "bifpn":
        candidates = [key.replace("bottom_up.", "bottom_up.backbone.") for key in candidates]
        candidates += [line.split("\t")[0] for line in _bifpn_keys(config)]
    head = "proposal_generator.fcos_head."
    for tower in ("share", "cls", "bbox"):
        last = 2 if config.head_norm == "none" else 3
        last *= {"share": 0, "cls": config.num_cls_convs, "bbox": config.num_box_convs}[tower] - 1
        for index in range(12):
            deformable = config.head_deformable and index == last
            for inner in ("offset.", "conv.") if deformable else ("", "0.", "1.", "2.", "3.", "4."):
                candidates += [f"{head}{tower}_tower.{index}.{inner}{part}" for part in parts]
    candidates += [f"{head}{layer}.{part}" for layer in ("cls_logits", "bbox_pred", "ctrness") for part in parts]
    candidates += [f"{head}scales.{level}.scale" for level in range(5)]
    candidates += [f"controller.{part}" for part in parts] + [f"mask_branch.logits.{part}" for part in parts]
    for index in range(6):
        for group in ("refine", "tower", "seg_head"):
            candidates += [f"mask_branch.{group}.{index}.{inner}{part}" for inner in ("", "0.", "1.") for part in parts]
    return {ours: key for key in candidates if (ours := rename_key(key, config)) is not None}


def _bifpn_keys(config: CondInstConfig) -> list[str]:
    """Lines of the recorded list with the same number of levels."""
    name = {5: "MS_R_50_BiFPN_1x.tsv", 6: "BiFPN_R50_mask_p2.tsv"}[len(config.fpn_levels)]
    lines = (KEY_LISTS / name).read_text().splitlines()
    return [line for line in lines if line.startswith(("backbone.repeated_bifpn.", "backbone.bottom_up.res6."))]


def save(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


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


def test_wrong_keys_are_listed(tmp_path: Path) -> None:
    state = adelaidet_state(CondInst(SMALL))
    del state["mask_branch.refine.1.0.weight"]
    state["mask_branch.extra"] = torch.zeros(1)
    state["controller.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as error:
        condinst.load(save(state, tmp_path / "model.pth"))
    message = str(error.value)
    assert "model.pth: the weights do not fit the model" in message
    assert "1 missing: mask_branch.refine.1.0.weight" in message
    assert "1 unexpected: mask_branch.extra" in message
    assert "1 misshapen: head.controller.bias (expected [169], got [7])" in message


def test_checkpoint_of_something_else(tmp_path: Path) -> None:
    path = save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="expected a condinst safetensors file or an AdelaiDet.*fc.weight"):
        condinst.load(path)


def test_config_that_does_not_fit(tmp_path: Path) -> None:
    path = save(adelaidet_state(CondInst(SMALL)), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="missing.*misshapen"):
        condinst.load(path, config="condinst_r50_1x")
    with pytest.raises(ValueError, match="mask_outptu_stride: not a field.*did you mean 'mask_output_stride'"):
        condinst.load(path, mask_outptu_stride=4)
    with pytest.raises(TypeError, match="config: expected a config, or the name or file of one, got int"):
        condinst.load(path, config=3)  # type: ignore[arg-type]


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


def test_torchvision_weights_need_torchvisions_convention() -> None:
    with pytest.raises(ValueError, match="stride_in_1x1 = False and pixel_order = 'rgb'"):
        condinst.load_backbone(CondInst(SMALL), "torchvision")


class Attack:
    """Runs a command when it is unpickled by an ordinary reader."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("name", ["model.pkl", "model.pth", "model.pt"])
def test_code_in_a_file_is_refused(tmp_path: Path, name: str) -> None:
    witness = tmp_path / "it-ran"
    path = tmp_path / name
    payload = {"model": {"controller.weight": Attack(witness)}}
    if name == "model.pt":
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload))
    with pytest.raises(CheckpointError, match=f"{name}: refused"):
        condinst.load(path)
    assert not witness.exists()
    if name == "model.pkl":  # the attack is a real one
        pickle.loads(path.read_bytes())
        assert witness.exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.pth", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x80\x04\x95"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        condinst.load(tmp_path / name)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    model = make_model()
    condinst.save_checkpoint(model, tmp_path / "ours.safetensors")
    save(adelaidet_state(CondInst(SMALL)), tmp_path / "theirs.pth")
    assert zipfile.is_zipfile(tmp_path / "theirs.pth")
    for name in ("ours.safetensors", "theirs.pth"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CheckpointError, match=name):
            condinst.load(path)


def test_file_without_our_config(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="expected a condinst safetensors file"):
        condinst.load(tmp_path / "other.safetensors")


def test_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a dict of tensors, got list"):
        condinst.load(save([1, 2], tmp_path / "list.pth"))
    with pytest.raises(CheckpointError, match="found none among"):
        condinst.load(save({"epoch": 1}, tmp_path / "epoch.pth"))


def with_config(path: Path, text: str) -> Path:
    """A small file of ours with this text where its config is."""
    save_file({"a": torch.zeros(1)}, path, metadata={"condinst_config": text})
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object"),
        ("[" * 10**5, "expected a JSON object"),
        ('{"num_classes": "3"}', "num_classes: expected int"),
        ('{"pixel_mean": [1.0, 2.0]}', "pixel_mean: expected 3 numbers"),
        ('{"fpn_channels": 64000000000}', "fpn_channels: expected at most 8192"),
        ('{"no_field": 1}', "no_field: not a field"),
        ('{"backbone_deformable": ["res9"]}', "backbone_deformable: expected stages"),
        ("{}", "the weights do not fit the model"),
    ],
)
def test_a_config_in_a_file_that_no_model_can_have(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"ours\.safetensors: .*{message}"):
        condinst.load(with_config(tmp_path / "ours.safetensors", text))


def test_nothing_is_allocated_before_the_weights_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config of a few bytes may ask for a network of gigabytes."""
    devices: list[Any] = []
    empty = torch.nn.Module.to_empty

    def watched(module: torch.nn.Module, *, device: Any) -> torch.nn.Module:
        devices.append(device)
        return empty(module, device=device)

    monkeypatch.setattr(torch.nn.Module, "to_empty", watched)
    huge = CondInstConfig(fpn_channels=3072)
    with pytest.raises(CheckpointError, match="the weights do not fit the model: .* missing"):
        condinst.load(with_config(tmp_path / "ours.safetensors", huge.to_json()))
    assert not devices
    condinst.save_checkpoint(make_model(), tmp_path / "small.safetensors")
    condinst.load(tmp_path / "small.safetensors")
    assert devices == ["cpu"]


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


@pytest.mark.parametrize(
    "change",
    [
        {"controller.weight": torch.tensor(1.0)},
        {"proposal_generator.fcos_head.cls_logits.weight": torch.zeros(3)},
        {"proposal_generator.fcos_head.cls_logits.weight": torch.zeros(0, 64, 3, 3)},
        {"backbone.fpn_output5.weight": torch.zeros(1).expand(64_000, 1, 1, 1)},
        {"mask_head.sizes_of_interest": torch.tensor(64)},
        {"mask_head.sizes_of_interest": torch.tensor([float("inf")] * 5)},
        {"mask_head.sizes_of_interest": torch.tensor([1e30] * 5)},
        {"mask_head.sizes_of_interest": torch.zeros(1, dtype=torch.int64).expand(10**5)},
        {"mask_branch.refine.0.0.weight": torch.tensor(1.0)},
        {"backbone.bottom_up.stem.conv1.weight": torch.zeros(())},
    ],
)
def test_shapes_that_no_architecture_has(tmp_path: Path, change: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pth: "):
        condinst.load(save(adelaidet_state(CondInst(SMALL)) | change, tmp_path / "model.pth"))


def test_sizes_of_interest_of_8_bits(tmp_path: Path) -> None:
    """PyTorch cannot tell whether such numbers are finite."""
    sizes = torch.tensor([64.0, 128, 256, 512, 1024]).to(torch.float8_e5m2)
    state = adelaidet_state(CondInst(SMALL)) | {"mask_head.sizes_of_interest": sizes}
    assert condinst.load(save(state, tmp_path / "model.pth")).config.sizes_of_interest == (64, 128, 256, 512)


def test_other_errors_of_detecting_a_config_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(*_: object) -> None:
        raise RuntimeError("not implemented for 'Float8'")

    monkeypatch.setattr("condinst.models.checkpoints.adelaidet.detect_config", detect)
    with pytest.raises(CheckpointError, match=r"model\.pth: the config of the file: not implemented"):
        condinst.load(save(adelaidet_state(CondInst(SMALL)), tmp_path / "model.pth"))


def test_models_of_too_many_parameters_are_refused(tmp_path: Path) -> None:
    """Each field is within its range, and nothing is allocated."""
    huge = load_config("condinst_r50_1x").replace(backbone_base_channels=8192, fpn_channels=8192)
    message = r"expected a model of at most 2000000000 parameters, got \d{12}"
    with pytest.raises(ValueError, match=message), pytest.warns(UserWarning, match="no weights"):
        condinst.load("condinst_r50_1x", config=huge)
    with pytest.raises(ValueError, match=message), pytest.warns(UserWarning, match="no weights"):
        condinst.load("condinst_r50_1x", backbone_base_channels=8192)
    condinst.save_checkpoint(make_model(), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=message):
        condinst.load(tmp_path / "small.safetensors", config=huge)
    with pytest.raises(ValueError, match=message):
        fine_tune(tmp_path / "small.safetensors", backbone_base_channels=8192)
