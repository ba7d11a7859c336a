"""MMDetection's CondInst checkpoints: renames keys, and detects the architecture from keys and shapes (numerics 2.8).

The names are those of `condinst_head.py` and its base classes at 93e3f28 (3.x).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...ops.common.mask_network import num_mask_head_params
from ..config import CondInstConfig
from ..config_files import coco_classes
from .errors import CheckpointError, axis_size

State = Mapping[str, Tensor]

ANCHOR = "bbox_head.controller.weight"
"""A tensor that every CondInst of MMDetection has, and no model of another framework."""

_FEATURE_HEAD = "mask_head.mask_feature_head."
_SIZE_OF_INTEREST = 8  # strides per unit of the relative coordinates

# applied in this order, each to the result of the previous replacement
_RENAMES = [
    (r"\.conv_offset\.", ".offset."),
    (r"^neck\.lateral_convs\.(\d+)\.conv\.", r"neck.inner_blocks.\1.0."),
    (r"^bbox_head\.conv_cls\.", "head.cls_logits."),
    (r"^bbox_head\.conv_reg\.", "head.bbox_pred."),
    (r"^bbox_head\.conv_centerness\.", "head.ctrness."),
    (r"^bbox_head\.scales\.(\d+)\.scale$", r"head.scales.\1"),
    (r"^bbox_head\.controller\.", "head.controller."),
    (r"^mask_head\.mask_feature_head\.convs_all_levels\.(\d+)\.conv\d+\.conv\.", r"mask_branch.refine.\1.0."),
    (r"^mask_head\.mask_feature_head\.convs_all_levels\.(\d+)\.conv\d+\.bn\.", r"mask_branch.refine.\1.1."),
    (r"^mask_head\.mask_feature_head\.conv_branch\.(\d+)\.conv\.", r"mask_branch.tower.\1.0."),
    (r"^mask_head\.mask_feature_head\.conv_branch\.(\d+)\.bn\.", r"mask_branch.tower.\1.1."),
]

_TOWERS = {"cls": "cls_tower", "reg": "bbox_tower"}


def is_mmdetection(state: State) -> bool:
    """Whether these keys are those of a CondInst of MMDetection 3."""
    return ANCHOR in state and _FEATURE_HEAD + "conv_pred.weight" in state


def rename_key(key: str, config: CondInstConfig) -> str:
    """The model's name of a key of MMDetection; a key without such a name does not change."""
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    if match := re.match(r"neck\.fpn_convs\.(\d{1,4})\.conv\.(.+)", key):
        index, num_laterals = int(match[1]), len(config.fpn_in_features)
        if index < num_laterals:
            return f"neck.layer_blocks.{index}.0.{match[2]}"
        return f"neck.extra_blocks.p{6 + index - num_laterals}.{match[2]}"
    if match := re.match(r"bbox_head\.(cls|reg)_convs\.(\d{1,4})\.(conv|gn)\.(.+)", key):
        layers_per_block = 2 if config.head_norm == "none" else 3
        layer = int(match[2]) * layers_per_block + (match[3] == "gn")
        return f"head.{_TOWERS[match[1]]}.{layer}.{match[4]}"
    return key.replace(_FEATURE_HEAD + "conv_pred.", f"mask_branch.tower.{config.num_mask_branch_convs}.")


def convert_state(state: State, config: CondInstConfig) -> dict[str, Tensor]:
    """Converts a state dict from MMDetection's names to those of the model.

    Convolutions of the towers without a bias (`conv_bias` "auto" or False) get a bias of 0.
    """
    converted = {rename_key(key, config): value for key, value in state.items()}
    for key, value in list(converted.items()):
        if key.startswith("head.scales.") and value.numel() == 1:
            converted[key] = value.reshape(1)
        elif re.match(r"head\.\w+_tower\.\d+\.weight", key) and value.dim() == 4:
            converted.setdefault(key.removesuffix("weight") + "bias", value.new_zeros(len(value)))
    return converted


def detect_config(state: State, source: str) -> CondInstConfig:
    """The config of a state dict of MMDetection, detected from its keys and shapes.

    Other fields are as in `condinst_r50_fpn_ms-poly-90k_coco_instance.py`: thresholds, image sizes, RGB input
    with the mean and deviation of ImageNet, the stride in the 3x3 convolutions ("pytorch" style), P6 from P5, P7 from
    ReLU(P6), distances by ReLU times the stride (`norm_on_bbox`), centre-ness from the box tower, a `size_of_interest`
    of 8 and masks at a stride of 4. Norms of the backbone have constant statistics (`norm_eval`) and, in this package,
    also constant weights.

    Args:
        state: the state dict.
        source: name of the state dict in error messages.

    Raises:
        CheckpointError: an architecture that is not supported, or that contradicts itself.
    """
    try:
        levels = _levels(state, source)
        return CondInstConfig().replace(
            name="mmdetection", **_rules(), **_backbone(state), **levels, **_head(state, source),
            **_mask_branch(state, levels), **_mask_head(state, source),
        )  # fmt: skip
    except KeyError as error:
        raise CheckpointError(f"{source}: an MMDetection CondInst without the key {error}") from error


def _rules() -> dict[str, Any]:
    """The fields for which MMDetection's images and detections differ from AdelaiDet's."""
    return {
        "pixel_order": "rgb",
        "pixel_mean": (123.675, 116.28, 103.53),
        "pixel_std": (58.395, 57.12, 57.375),
        "score_rule": "product",
        "score_threshold": 0.05,
        "clip_boxes": True,
    }


def _count(state: State, pattern: str) -> int:
    """The number of distinct first groups of the pattern among the keys."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def _backbone(state: State) -> dict[str, Any]:
    depths = tuple(_count(state, rf"backbone\.layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "backbone.layer1.0.conv3.weight" in state
    kinds = {(2, 2, False): 18, (4, 6, False): 34, (4, 6, True): 50, (4, 23, True): 101}
    depth = kinds.get((depths[1], depths[2], bottleneck))
    if depth is None:
        raise KeyError(f"backbone.layer* of a ResNet-18, 34, 50 or 101 (got {depths} blocks)")
    return {
        "backbone": f"resnet{depth}",
        "backbone_base_channels": axis_size(state, "backbone.conv1.weight"),
        "backbone_norm": "FrozenBN",
        "stride_in_1x1": False,
        "freeze_at": 2,
        "backbone_deformable": tuple(
            f"res{stage + 1}.{block}"
            for stage, num_blocks in enumerate(depths, start=1)
            for block in range(num_blocks)
            if f"backbone.layer{stage}.{block}.conv2.conv_offset.weight" in state
        ),
    }


def _levels(state: State, source: str) -> dict[str, Any]:
    num_laterals = _count(state, r"neck\.lateral_convs\.(\d+)\.")
    num_convs = _count(state, r"neck\.fpn_convs\.(\d+)\.")
    num_scales = _count(state, r"bbox_head\.scales\.(\d+)\.")
    if num_scales != num_convs or num_convs - num_laterals not in (0, 2):
        raise CheckpointError(
            f"{source}: expected as many levels in the head (bbox_head.scales) as convolutions in the neck"
            f" (neck.fpn_convs), 0 or 2 more than neck.lateral_convs; got {num_scales}, {num_convs}, {num_laterals}"
        )
    if not 1 <= num_laterals <= 4:
        raise CheckpointError(f"{source}: expected 1 to 4 levels of neck.lateral_convs, got {num_laterals}")
    first = 6 - num_laterals
    return {
        "fpn_in_features": tuple(f"res{level}" for level in range(first, 6)),
        "fpn_channels": axis_size(state, "neck.lateral_convs.0.conv.weight"),
        "fpn_top_levels": num_convs - num_laterals,
        "head_in_features": tuple(f"p{level}" for level in range(first, first + num_convs)),
        "sizes_of_interest": tuple(_SIZE_OF_INTEREST * 2**level for level in range(first, first + num_convs - 1)),
    }


def _head(state: State, source: str) -> dict[str, Any]:
    num_classes = axis_size(state, "bbox_head.conv_cls.weight")
    if any(re.match(r"bbox_head\.(cls|reg)_convs\.\d+\.bn\.", key) for key in state):
        raise CheckpointError(f"{source}: a head with batch norms shared by all levels is not supported")
    has_norm = any(re.match(r"bbox_head\.(cls|reg)_convs\.\d+\.gn\.", key) for key in state)
    return {
        "classes": coco_classes(num_classes),
        "head_norm": "GN" if has_norm else "none",
        "num_cls_convs": _count(state, r"bbox_head\.cls_convs\.(\d+)\."),
        "num_box_convs": _count(state, r"bbox_head\.reg_convs\.(\d+)\."),
        "head_deformable": any(key.startswith("bbox_head.") and ".conv_offset." in key for key in state),
    }


def _mask_branch(state: State, levels: dict[str, Any]) -> dict[str, Any]:
    # The first number is an index into the levels that are used, the second an index into all levels of the pyramid.
    pattern = re.compile(re.escape(_FEATURE_HEAD) + r"convs_all_levels\.\d+\.conv(\d{1,4})\.")
    used = sorted({int(match[1]) for key in state if (match := pattern.match(key))})
    if not used or used[-1] >= len(levels["head_in_features"]):
        raise KeyError(f"{_FEATURE_HEAD}convs_all_levels.* of levels of the pyramid (got {used})")
    first = f"{_FEATURE_HEAD}convs_all_levels.0.conv{used[0]}."
    return {
        "mask_branch_in_features": tuple(levels["head_in_features"][index] for index in used),
        "mask_branch_channels": axis_size(state, first + "conv.weight"),
        "num_mask_branch_convs": _count(state, re.escape(_FEATURE_HEAD) + r"conv_branch\.(\d+)\."),
        "mask_branch_norm": "BN" if first + "bn.running_mean" in state else "none",
        "mask_feature_channels": axis_size(state, _FEATURE_HEAD + "conv_pred.weight"),
    }


def _mask_head(state: State, source: str) -> dict[str, Any]:
    """Depth of the dynamic mask head; that of MMDetection works only if it is as wide as the mask features."""
    num_params = axis_size(state, "bbox_head.controller.weight")
    channels = axis_size(state, _FEATURE_HEAD + "conv_pred.weight")
    for layers in range(1, 9):
        if num_mask_head_params(channels + 2, channels, layers) == num_params:
            return {"mask_head_channels": channels, "mask_head_layers": layers}
    raise CheckpointError(
        f"{source}: no dynamic mask head as wide as its {channels} feature channels has {num_params} parameters"
        " (bbox_head.controller.weight)"
    )
