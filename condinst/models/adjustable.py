"""The fields of a config that a model may change after it was made, because no layer is built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..fields import flat_values

if TYPE_CHECKING:
    from .config import CondInstConfig

ADJUSTABLE_FIELDS = frozenset(
    {
        *("name", "class_names", "category_ids", "stuff_names", "stuff_category_ids"),
        *("pixel_order", "pixel_mean", "pixel_std", "size_divisibility", "mask_output_stride"),
        *("min_size_test", "max_size_test", "min_size_train", "max_size_train"),
        *("score_threshold", "threshold_with_centerness", "score_rule", "clip_boxes", "pre_nms_top_k"),
        *("nms", "nms_threshold", "matrix_nms_kernel", "matrix_nms_sigma", "max_detections", "mask_threshold"),
        *("panoptic_score_threshold", "panoptic_overlap_threshold", "stuff_area_limit"),
        *("focal_loss_alpha", "focal_loss_gamma", "center_sampling", "center_sampling_radius", "box_quality"),
        *("mask_loss_weight", "semantic_loss_weight", "panoptic_loss_weight", "cls_loss_normalizer"),
        *("mask_loss_locations", "mask_loss_max_locations", "mask_loss_top_per_image"),
    }
)
"""Input, detection, post-processing and losses. The other fields describe the network."""


def check_adjustable(old: CondInstConfig, new: CondInstConfig) -> None:
    """Checks that a model with the config `old` can get the config `new` and keep its weights.

    Raises:
        ValueError: the two describe different networks; the message names the fields.
    """
    before, after = flat_values(old), flat_values(new)
    fixed = [name for name in before if name not in ADJUSTABLE_FIELDS and before[name] != after[name]]
    if fixed:
        raise ValueError(
            f"{', '.join(fixed)}: cannot change in a model that has weights, because the network is built from it;"
            f" condinst.load(weights, {fixed[0]}=...) makes another model"
        )
