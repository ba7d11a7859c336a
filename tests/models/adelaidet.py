"""State dicts under AdelaiDet's names, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condinst import CondInst, CondInstConfig
from condinst.models.checkpoints.adelaidet import rename_key

KEY_LISTS = Path(__file__).parents[1] / "goldens"
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
