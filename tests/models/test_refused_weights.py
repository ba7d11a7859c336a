"""Weights that no model can be made of: code in a file, damage, other architectures."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import condinst
from condinst import CheckpointError, CondInst, CondInstConfig
from condinst.models.checkpoints.model import fine_tune
from condinst.models.config_files import load_config
from tests.models.adelaidet import SMALL, adelaidet_state, save
from tests.models.tiny import make_model


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
    loaded = []
    load_state_dict = torch.nn.Module.load_state_dict

    def watched(module: torch.nn.Module, state: Any, **options: Any) -> Any:
        loaded.append(all(parameter.is_meta for parameter in module.parameters()))
        return load_state_dict(module, state, **options)

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", watched)
    huge = CondInstConfig(fpn_channels=3072)
    with pytest.raises(CheckpointError, match="the weights do not fit the model: .* missing"):
        condinst.load(with_config(tmp_path / "ours.safetensors", huge.to_json()))
    assert not loaded
    condinst.save_checkpoint(make_model(), tmp_path / "small.safetensors")
    condinst.load(tmp_path / "small.safetensors")
    assert loaded == [True]  # the parameters of the model are those of the file from then on


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
