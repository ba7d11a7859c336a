"""The synthetic weights that the recorded model carried: one NumPy random stream per state-dict key."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent

_FACTORS = {
    # inputs are 0..255 minus the mean, so the first norm divides by about 70
    "backbone.bottom_up.stem.conv1.norm.running_var": 5000.0,
    "backbone.bottom_up.backbone.stem.conv1.norm.running_var": 5000.0,  # with a BiFPN
    "backbone.bottom_up.base_layer.1.running_var": 5000.0,
    "proposal_generator.fcos_head.cls_logits.weight": 0.9,
    "controller.weight": 0.35,
    "mask_branch.tower.4.weight": 0.1,
}
_SHIFTS = {
    "proposal_generator.fcos_head.cls_logits.bias": -4.5,
    "proposal_generator.fcos_head.bbox_pred.bias": 3.0,
}


def load_golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of one recording."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def recorded_state(golden: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of the recorded model, in AdelaiDet's names."""
    meta = json.loads(str(golden["meta_json"]))
    state = {}
    for line in (FOLDER / meta["keys"]).read_text().splitlines():
        key, shape, dtype = line.split("\t")
        dims = () if shape == "scalar" else tuple(int(side) for side in shape.split("x"))
        state[key] = torch.from_numpy(np.asarray(_values(key, dims, meta["seed"]), dtype=dtype))
        if key in _FACTORS:
            state[key] *= _FACTORS[key]
        if key in _SHIFTS:
            state[key] += _SHIFTS[key]
    return state


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
        return (1.0 + 0.1 * normal) * (0.3 if "conv3.norm" in key or ".bn2." in key else 1.0)
    if "scales." in key or ".weights_f" in key:
        return 1.0 + 0.2 * normal
    if len(shape) == 4:
        is_offset = "conv2_offset" in key or ".offset." in key
        return normal * np.sqrt(2.0 / np.prod(shape[1:])) * (0.1 if is_offset else 1.0)
    return 0.05 * normal
