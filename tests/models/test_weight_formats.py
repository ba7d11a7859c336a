"""Files that hold no CondInst are named for what they are."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

import condinst
from condinst import CheckpointError
from condinst.models.checkpoints.other_models import describe_keys
from tests.models.adelaidet import save

CONTENTS = {
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "the pointer of Git LFS"),
    "lfs.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n",
        "the pointer of Git LFS",
    ),
    "page.pth": (b"\n <!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    "page.pkl": (b"<html><head></head></html>", "an HTML page"),
    "page.safetensors": (b"<HTML>" + b" " * 5000, "an HTML page"),
    "denied.pth": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
    "error.pth": (b'{"error": "not found"}', "a JSON file"),
    "config.pth": (b"# a config\nbase = 'condinst_r50_1x'\n", "a text file that begins with '# a config'"),
    "empty.pth": (b"", "an empty file"),
    "zeros.pth": (bytes(9999), "a file of zeros"),
    "a.pth": (gzip.compress(b"weights"), "a gzip archive"),
    "picture.pth": (b"\x89PNG\r\n\x1a\n0000", "a PNG picture"),
    "a.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.0.0", "an ONNX model"),
    "onnx.pth": (b"\x08\x07\x12\x07pytorch\x1a\x051.0.0", "an ONNX model"),
    "keras.pth": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_files(tmp_path: Path, name: str) -> None:
    content, kind = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: expected a file of weights, got {kind}"):
        condinst.load(tmp_path / name)


def test_torchscript(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a.pt: expected a file of torch.save, got a TorchScript archive"):
        condinst.load(tmp_path / "a.pt")


def test_other_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match="an archive of NumPy arrays"):
        condinst.load(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model.pth", b"")
    with pytest.raises(CheckpointError, match=r"a zip archive without data.pkl.* it holds model\.pth"):
        condinst.load(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "a.safetensors"])
def test_a_download_that_did_not_finish(tmp_path: Path, name: str) -> None:
    state = {"controller.weight": torch.zeros(100)}
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=name == "zip.pth")
    content = safetensors_bytes(state) if name == "a.safetensors" else buffer.getvalue()
    (tmp_path / name).write_bytes(content[:-100])
    with pytest.raises(
        CheckpointError, match=f"{name}: refused: cut off or damaged, like a download that did not finish"
    ):
        condinst.load(tmp_path / name)


def test_an_optimizer(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    for content in (optimizer.state_dict(), {"optimizer": optimizer.state_dict(), "epoch": 3}):
        with pytest.raises(CheckpointError, match="got the state of an optimizer without weights"):
            condinst.load(save(content, tmp_path / "a.pth"))


def test_a_whole_model(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a.pth: refused: .*Linear; .* a whole model was saved"):
        condinst.load(tmp_path / "a.pth")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run.pth: is a folder, expected a file"):
        (tmp_path / "run.pth").mkdir()
        condinst.load(tmp_path / "run.pth")


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("roi_heads.mask_predictor.conv5_mask.weight", "Mask R-CNN of torchvision"),
        ("roi_heads.mask_head.mask_fcn1.weight", "Mask R-CNN of detectron2"),
        ("module.roi_head.mask_head.convs.0.conv.weight", "Mask R-CNN of MMDetection"),
        ("model.22.cv2.0.0.conv.weight", "YOLO of Ultralytics"),
        ("proposal_generator.fcos_head.cls_logits.weight", "FCOS of AdelaiDet, a detector without masks"),
        ("layer1.0.conv1.weight", "a backbone or a classifier"),
        ("transformer.encoder.layers.0.linear1.weight", "DETR"),
    ],
)
def test_other_models(tmp_path: Path, key: str, model: str) -> None:
    with pytest.raises(CheckpointError, match=rf"got keys such as {key}; these are the names of {model}"):
        condinst.load(save({"model": {key: torch.zeros(1)}}, tmp_path / "a.pth"))
    assert describe_keys(["a.b"]) == ""
