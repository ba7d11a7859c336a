"""The recordings and the recorded models, whose weights are one NumPy random stream per state-dict key."""

from __future__ import annotations

import json
import re
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import condinst

FOLDER = Path(__file__).parent

# AdelaiDet's and MMDetection's names
_FACTORS = {
    # AdelaiDet's inputs are 0..255 minus the mean, so the first norm divides by about 70
    "backbone.bottom_up.stem.conv1.norm.running_var": 5000.0,
    "backbone.bottom_up.backbone.stem.conv1.norm.running_var": 5000.0,  # with a BiFPN
    "backbone.bottom_up.base_layer.1.running_var": 5000.0,
    "proposal_generator.fcos_head.cls_logits.weight": 0.9,
    "controller.weight": 0.35,
    "mask_branch.tower.4.weight": 0.1,
    "backbone.bn1.running_var": 1.5,  # MMDetection divides its inputs by their deviation
    "bbox_head.conv_cls.weight": 0.9,
    "bbox_head.controller.weight": 0.35,
}
_SHIFTS = {
    "proposal_generator.fcos_head.cls_logits.bias": -4.5,
    "proposal_generator.fcos_head.bbox_pred.bias": 3.0,
    "bbox_head.conv_cls.bias": -4.5,
    "bbox_head.conv_reg.bias": 3.0,
}
_LAST_NORM = re.compile(r"\.(conv3\.norm|bn3)\.|^backbone\.bottom_up\..*\.bn2\.")
"""The last norm of a residual block: of detectron2's ResNet, of MMDetection's, and of AdelaiDet's DLA."""


def load_golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of one recording."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def read_keys(name: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each key of a recorded model, in the order of its state dict: ``read_keys("r50.tsv")``."""
    rows = (line.split("\t") for line in (FOLDER / name).read_text().splitlines())
    return {
        key: (() if shape == "scalar" else tuple(int(side) for side in shape.split("x")), dtype)
        for key, shape, dtype in rows
    }


def recorded_state(golden: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of the recorded model, in the names of the code that was recorded."""
    meta = json.loads(str(golden["meta_json"]))
    state = {}
    for key, (shape, dtype) in read_keys(meta["keys"].removesuffix(".tsv") + ".tsv").items():
        state[key] = torch.from_numpy(np.asarray(_values(key, shape, meta["seed"]), dtype=dtype))
        if key in _FACTORS:
            state[key] *= _FACTORS[key]
        if key in _SHIFTS:
            state[key] += _SHIFTS[key]
    return state


def load_recorded(golden: dict[str, np.ndarray], device: str = "cpu", **overrides: Any) -> condinst.CondInst:
    """The recorded model by way of a checkpoint file, as a user would load it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        # mmengine's runner saves its weights under "state_dict", detectron2's under "model"
        is_mmdetection = "made_by" in json.loads(str(golden["meta_json"]))
        torch.save({"state_dict" if is_mmdetection else "model": recorded_state(golden)}, path)
        return condinst.load(path, device=device, **overrides)


def _values(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if key == "mask_head.sizes_of_interest":
        return np.array([64, 128, 256, 512, 1024][: shape[0]])
    if key.endswith(("num_batches_tracked", "_iter")):
        return np.zeros(shape)
    normal = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0x7FFFFFFF).standard_normal(shape)
    if key.endswith("running_var"):
        return 0.5 + np.abs(normal)
    if key.endswith("running_mean"):
        return 0.1 * normal
    if len(shape) == 1 and key.endswith(".weight"):  # norms; the last of a residual block is kept small
        return (1.0 + 0.1 * normal) * (0.3 if _LAST_NORM.search(key) else 1.0)
    if "scales." in key or ".weights_f" in key:
        return 1.0 + 0.2 * normal
    if len(shape) == 4:
        is_offset = "conv2_offset" in key or ".offset." in key
        return normal * np.sqrt(2.0 / np.prod(shape[1:])) * (0.1 if is_offset else 1.0)
    return 0.05 * normal
