"""AdelaiDet's CondInst checkpoints: renames keys, and detects the architecture from keys and shapes (numerics 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...ops.common.mask_network import num_mask_head_params
from ..backbones.dla import UNUSED_KEYS as UNUSED_DLA_KEYS
from ..config import CondInstConfig
from ..config_files import coco_classes
from .errors import CheckpointError, axis_size

State = Mapping[str, Tensor]

ANCHOR = "proposal_generator.fcos_head.cls_logits.weight"
"""A tensor that every AdelaiDet CondInst has, and no model of another framework."""

_WRAPPED = r"^backbone\.bottom_up\.backbone\."  # where a BiFPN puts its top levels beside the feature extractor

# applied in this order, each to the result of the previous replacement
_RENAMES = [
    (_WRAPPED, "backbone.bottom_up."),
    (r"^backbone\.bottom_up\.res6\.reduction\.norm\.", "neck.reduction.1."),
    (r"^backbone\.bottom_up\.res6\.reduction\.", "neck.reduction.0."),
    (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", "backbone.bn1."),
    (r"^backbone\.bottom_up\.stem\.", "backbone."),
    (r"^backbone\.bottom_up\.res(\d)\.(\d+)\.shortcut\.norm\.", r"backbone.res\1.\2.downsample.1."),
    (r"^backbone\.bottom_up\.res(\d)\.(\d+)\.shortcut\.", r"backbone.res\1.\2.downsample.0."),
    (r"^backbone\.bottom_up\.res(\d)\.(\d+)\.conv(\d)\.norm\.", r"backbone.res\1.\2.bn\3."),
    (r"^backbone\.bottom_up\.res(\d)\.(\d+)\.conv2_offset\.", r"backbone.res\1.\2.conv2.offset."),
    (r"^backbone\.bottom_up\.res", "backbone.res"),
    (r"^backbone\.bottom_up\.(base_layer|level\d)\.", r"backbone.\1."),
    (r"^backbone\.fpn_lateral(\d)\.", r"neck.inner_blocks.res\1.0."),
    (r"^backbone\.fpn_output(\d)\.", r"neck.layer_blocks.res\1.0."),
    (r"^backbone\.top_block\.", "neck.extra_blocks."),
    (r"^backbone\.repeated_bifpn\.(\d+)\.weights_", r"neck.repeats.\1.weights."),
    (r"^backbone\.repeated_bifpn\.(\d+)\.outputs_(\w+)\.norm\.", r"neck.repeats.\1.outputs.\2.1."),
    (r"^backbone\.repeated_bifpn\.(\d+)\.outputs_(\w+)\.", r"neck.repeats.\1.outputs.\2.0."),
    (r"^backbone\.repeated_bifpn\.(\d+)\.lateral_(\d)_f\d\.norm\.", r"neck.repeats.\1.laterals.\2.1."),
    (r"^backbone\.repeated_bifpn\.(\d+)\.lateral_(\d)_f\d\.", r"neck.repeats.\1.laterals.\2.0."),
    (r"^(proposal_generator\.fcos_head\.\w+_tower\.\d+)\.conv\.", r"\1."),
    (r"^proposal_generator\.fcos_head\.scales\.(\d)\.scale$", r"head.scales.\1"),
    (r"^proposal_generator\.fcos_head\.", "head."),
    (r"^controller\.", "head.controller."),
]

_MOST_LEVELS = 8  # of a pyramid; there are five, or six with P2

# constants that are part of the config, and counters
_DROPPED = ("mask_head.sizes_of_interest", "mask_head._iter")


def is_adelaidet(state: State) -> bool:
    """Whether these keys are those of an AdelaiDet CondInst."""
    return "controller.weight" in state and ANCHOR in state


def rename_key(key: str, config: CondInstConfig) -> str | None:
    """The model's name of an AdelaiDet key; None for a key that the model does not use."""
    if key in _DROPPED or UNUSED_DLA_KEYS.match(key.removeprefix("backbone.bottom_up.")):
        return None
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    first_level = int(config.fpn_in_features[0][3:])
    key = re.sub(r"^backbone\.res(\d)", lambda match: f"backbone.layer{int(match[1]) - 1}", key)
    return re.sub(r"_blocks\.res(\d)", lambda match: f"_blocks.{int(match[1]) - first_level}", key)


def convert_state(state: State, config: CondInstConfig) -> dict[str, Tensor]:
    """Converts a state dict from AdelaiDet's names to those of the model."""
    renamed = {rename_key(key, config): value for key, value in state.items()}
    return {key: value for key, value in renamed.items() if key is not None}


def detect_config(state: State, source: str) -> CondInstConfig:
    """The config of an AdelaiDet state dict, detected from its keys and shapes.

    Fields that keys and shapes do not show (mask output stride, thresholds, image sizes, the convolution of a
    bottleneck that has the stride) have AdelaiDet's default.

    Args:
        state: the state dict.
        source: name of the state dict in error messages.

    Raises:
        CheckpointError: an architecture that is not supported, or that contradicts itself.
    """
    state = {re.sub(_WRAPPED, "backbone.bottom_up.", key): value for key, value in state.items()}
    try:
        return CondInstConfig().replace(
            name="adelaidet", **_backbone(state), **_head(state), **_mask_branch(state), **_mask_head(state, source)
        )
    except KeyError as error:
        raise CheckpointError(f"{source}: an AdelaiDet CondInst without the key {error}") from error


def _count(state: State, pattern: str) -> int:
    """The number of distinct first groups of the pattern among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _backbone(state: State) -> dict[str, Any]:
    norms = [key for key in state if key.startswith("backbone.bottom_up.") and ".res6." not in key]
    trained_norm = any(key.endswith("num_batches_tracked") for key in norms)
    return {
        **(_dla(state) if "backbone.bottom_up.base_layer.0.weight" in state else _resnet(state)),
        "backbone_norm": "SyncBN" if trained_norm else "FrozenBN",
        "fpn_in_features": tuple(f"res{level}" for level in range(_first_level(state), 6)),
        "fpn_top_levels": _top_levels(state),
        **_neck(state),
    }


def _dla(state: State) -> dict[str, Any]:
    # the stem has a quarter of the width in the config
    base_channels = 4 * axis_size(state, "backbone.bottom_up.base_layer.0.weight")
    return {"backbone": "dla34", "backbone_base_channels": base_channels, "freeze_at": 0}


def _resnet(state: State) -> dict[str, Any]:
    blocks = _count(state, r"backbone\.bottom_up\.res4\.(\d+)\.")
    bottleneck = "backbone.bottom_up.res4.0.conv3.weight" in state
    depth = {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101}.get((blocks, bottleneck))
    if depth is None:
        raise KeyError(f"backbone.bottom_up.res4.* of a ResNet-18, 34, 50 or 101 (got {blocks} blocks)")
    return {
        "backbone": f"resnet{depth}",
        "backbone_base_channels": axis_size(state, "backbone.bottom_up.stem.conv1.weight"),
        # detectron2 freezes the norms of frozen stages, so a stem that counts batches is not frozen.
        "freeze_at": 0 if "backbone.bottom_up.stem.conv1.norm.num_batches_tracked" in state else 2,
        "backbone_deformable": _deformable(state),
    }


def _deformable(state: State) -> tuple[str, ...]:
    """Stages whose blocks all have offsets, and blocks with offsets of other stages."""
    names: list[str] = []
    for stage in range(2, 6):
        blocks = _count(state, rf"backbone\.bottom_up\.res{stage}\.(\d+)\.")
        key = "backbone.bottom_up.res{}.{}.conv2_offset.weight"
        chosen = [f"res{stage}.{block}" for block in range(blocks) if key.format(stage, block) in state]
        names += [f"res{stage}"] if chosen and len(chosen) == blocks else chosen
    return tuple(names)


def _neck(state: State) -> dict[str, Any]:
    repeats = _count(state, r"backbone\.repeated_bifpn\.(\d+)\.")
    if not repeats:
        return {"neck": "fpn", "fpn_channels": axis_size(state, "backbone.fpn_output5.weight")}
    channels = axis_size(state, "proposal_generator.fcos_head.cls_logits.weight", 1)
    return {"neck": "bifpn", "bifpn_repeats": repeats, "fpn_channels": channels}


def _head(state: State) -> dict[str, Any]:
    head = "proposal_generator.fcos_head."
    num_classes = axis_size(state, head + "cls_logits.weight")
    top_level = 5 + _top_levels(state)
    num_scales = _count(state, r"proposal_generator\.fcos_head\.scales\.(\d)\.")
    sizes = state.get("mask_head.sizes_of_interest")
    if sizes is not None and not (sizes.dim() == 1 and len(sizes) <= _MOST_LEVELS and sizes.double().isfinite().all()):
        raise KeyError("mask_head.sizes_of_interest of one number for each level")
    num_levels = num_scales or (len(sizes) if sizes is not None else top_level - 2)
    towers = {name: _tower_convs(state, f"{head}{name}_tower.") for name in ("share", "cls", "bbox")}
    fields: dict[str, Any] = {
        "classes": coco_classes(num_classes),
        "head_in_features": tuple(f"p{level}" for level in range(top_level - num_levels + 1, top_level + 1)),
        "head_norm": _head_norm(state),
        "num_share_convs": towers["share"],
        "num_cls_convs": towers["cls"],
        "num_box_convs": towers["bbox"],
        "head_deformable": any("_tower." in key and ".offset." in key for key in state),
        "use_scale": num_scales > 0,
    }
    if sizes is not None:
        fields["sizes_of_interest"] = tuple(int(size) for size in sizes.tolist()[:-1])
    elif num_levels == 3:
        fields["sizes_of_interest"] = (64, 128)
    return fields


def _first_level(state: State) -> int:
    """The finest level of the pyramid: 3, or 2 with P2."""
    num_levels = _bifpn_levels(state)
    num_stages = num_levels - _top_levels(state) if num_levels else _count(state, r"backbone\.fpn_lateral(\d)\.")
    return 6 - num_stages


def _bifpn_levels(state: State) -> int:
    """The number of all levels of a BiFPN; 0 without a BiFPN."""
    return _count(state, r"backbone\.repeated_bifpn\.0\.weights_f(\d)_")


def _top_levels(state: State) -> int:
    # The top levels of a BiFPN may have no weights, but at most four levels are backbone stages.
    reduced = "backbone.bottom_up.res6.reduction.weight" in state
    return 2 if reduced or _bifpn_levels(state) > 4 or "backbone.top_block.p6.weight" in state else 0


def _tower_convs(state: State, prefix: str) -> int:
    return sum(
        key.startswith(prefix) and key.endswith(".weight") and ".offset." not in key and value.dim() == 4
        for key, value in state.items()
    )


def _head_norm(state: State) -> str:
    towers = re.compile(r"proposal_generator\.fcos_head\.\w+_tower\.\d+\.")
    keys = [key for key in state if towers.match(key)]
    if any(key.endswith("running_mean") for key in keys):
        return "SyncBN"
    has_norm = any(state[key].dim() == 1 and key.endswith(".weight") for key in keys)
    return "GN" if has_norm else "none"


def _mask_branch(state: State) -> dict[str, Any]:
    num_levels = _count(state, r"mask_branch\.refine\.(\d)\.")
    num_convs = _count(state, r"mask_branch\.tower\.(\d)\.0\.weight")
    first = _first_level(state)
    return {
        "mask_branch_in_features": tuple(f"p{first + index}" for index in range(num_levels)),
        "mask_branch_channels": axis_size(state, "mask_branch.refine.0.0.weight"),
        "num_mask_branch_convs": num_convs,
        "mask_branch_norm": "BN" if "mask_branch.refine.0.1.running_mean" in state else "none",
        "mask_feature_channels": axis_size(state, f"mask_branch.tower.{num_convs}.weight"),
        "semantic_loss": "mask_branch.logits.weight" in state,
    }


def _mask_head(state: State, source: str) -> dict[str, Any]:
    """Depth, width and coordinates of the dynamic mask head from the number of its parameters."""
    num_params = axis_size(state, "controller.weight")
    num_convs = _count(state, r"mask_branch\.tower\.(\d)\.0\.weight")
    features = axis_size(state, f"mask_branch.tower.{num_convs}.weight")
    # first the published head, then the ablations of the paper
    for channels in (8, 4, 16, 2, 1):
        for layers in (3, 2, 4, 1):
            for coordinates, extra in (("relative", 2), ("none", 0)):
                if num_mask_head_params(features + extra, channels, layers) == num_params:
                    return {
                        "mask_head_channels": channels,
                        "mask_head_layers": layers,
                        "mask_head_coordinates": coordinates,
                    }
    raise CheckpointError(
        f"{source}: no dynamic mask head on {features} feature channels has {num_params} parameters (controller.weight)"
    )
