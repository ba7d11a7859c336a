"""The configuration of a CondInst model: every choice that numerics 1 and 2 leave open, as a flat dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from typing import Any

from ..messages import shorten
from ..ops.common.mask_network import UPSAMPLE_FACTORS, num_mask_head_params
from .fields import check_types

_CHOICES: dict[str, tuple[str, ...]] = {
    "pixel_order": ("rgb", "bgr"),
    "backbone": ("resnet18", "resnet34", "resnet50", "resnet101", "dla34"),
    "backbone_norm": ("FrozenBN", "BN", "SyncBN"),
    "neck": ("fpn", "bifpn"),
    "neck_norm": ("FrozenBN", "BN", "SyncBN"),
    "head_norm": ("GN", "NaiveGN", "BN", "SyncBN", "none"),
    "mask_branch_norm": ("BN", "SyncBN", "none"),
    "score_rule": ("root", "product"),
    "mask_head_coordinates": ("relative", "absolute", "none"),
    "box_quality": ("centerness", "iou"),
    "cls_loss_normalizer": ("fg", "moving_fg", "all"),
    "mask_loss_locations": ("all", "random", "top"),
    "nms": ("box", "mask", "matrix"),
    "matrix_nms_kernel": ("gaussian", "linear"),
    "center_sampling": ("mass", "box"),
    "panoptic_norm": ("GN", "BN", "SyncBN", "none"),
    "panoptic_things": ("each", "one"),
}

_MAY_BE_ZERO = (
    "freeze_at",
    "fpn_top_levels",
    "max_detections",
    "num_share_convs",
    "num_cls_convs",
    "num_box_convs",
    "num_mask_branch_convs",
    "num_stuff_classes",
    "stuff_area_limit",
)

_MOST: dict[str, tuple[int, str]] = {
    **dict.fromkeys(
        ("min_size_test", "max_size_test", "min_size_train", "max_size_train", "size_divisibility"),
        (16_384, "the side of a picture of 268 million pixels"),
    ),
    **dict.fromkeys(
        ("fpn_channels", "mask_branch_channels", "panoptic_channels", "backbone_base_channels"),
        (8192, "32 times the published width or more"),
    ),
    **dict.fromkeys(("mask_feature_channels", "mask_head_channels"), (1024, "128 times the published width")),
    **dict.fromkeys(
        ("num_share_convs", "num_cls_convs", "num_box_convs", "num_mask_branch_convs", "bifpn_repeats"),
        (256, "more than 40 times the published depth"),
    ),
    "mask_head_layers": (32, "ten times the published depth"),
    **dict.fromkeys(("num_classes", "num_stuff_classes"), (100_000, "more than the data sets have that are known")),
    "sizes_of_interest": (2**20, "more than the side of any picture"),
}
"""The highest value of a field, and why; of all other whole numbers it is `_LARGEST`. More would ask for memory that no
machine has, and mostly comes from a damaged file."""

_LARGEST = 2**31 - 1  # the kernels count in 32 bits
_PIXEL_RANGE = 1_000_000  # of mean and deviation, whose pixels are in 0..255


@dataclasses.dataclass(frozen=True)
class CondInstConfig:
    """Everything that decides what a CondInst model computes.

    The defaults are AdelaiDet's `MS_R_50_1x`. Sizes are in pixels of the network input unless said otherwise; boxes are
    (x1, y1, x2, y2).

    Args:
        name: what the model calls itself.
        num_classes: number of foreground classes, labels are 0 .. num_classes - 1.
        class_names: one name per class, or empty.
        category_ids: the id of each class in COCO results, a number or text; label + 1 when empty.
        pixel_order: channel order that the network works in; images given to the model are always RGB.
        pixel_mean, pixel_std: subtracted from and divided into 0..255 pixel values, in `pixel_order`.
        min_size_test, max_size_test: the shorter side is brought to `min_size_test` unless the longer one would exceed
            `max_size_test`.
        min_size_train, max_size_train: the same for `TrainingTransform`, which draws one of `min_size_train` per image.
        size_divisibility: the batch is padded on the right and bottom to a multiple of it.
        backbone: a ResNet of one of four depths, or DLA-34, whose levels 2 to 5 are called res2 to res5 here.
        backbone_base_channels: width of the stem; 64 is the published network, 32 half of it. (DLA-34's stem has a
            quarter of it, 16 in the published network.)
        backbone_norm: normalisation of the backbone. "FrozenBN" has constant statistics and constant affine terms.
        stride_in_1x1: True puts the stride of a bottleneck in the first 1x1 convolution (Caffe and MSRA weights),
            False in the 3x3 (torchvision weights). No effect where there are no bottlenecks.
        freeze_at: number of backbone stages without gradient: 1 the stem, 2 the stem and res2, 0 none
            (the only choice with DLA-34).
        backbone_deformable: where the second convolution of a ResNet's block (the 3x3 of a bottleneck) is a modulated
            deformable one: stages ("res4", all blocks) and blocks ("res4.0").
        neck: the pyramid, "fpn" (Lin et al.) or "bifpn" (Tan et al., as AdelaiDet builds it). The fields called fpn_*
            are of both.
        bifpn_repeats: how often a BiFPN fuses all levels.
        neck_norm: normalisation in a BiFPN; an FPN has none.
        fpn_in_features: backbone stages that the FPN takes, finest first.
        fpn_channels: channels of all pyramid levels.
        fpn_top_levels: extra levels above the last stage: 2 gives P6 and P7, 0 none.
        head_in_features: pyramid levels that the FCOS head runs on.
        head_norm: norm in the towers. "NaiveGN" is GroupNorm; "BN" and "SyncBN" keep separate statistics per level.
        num_share_convs, num_cls_convs, num_box_convs: depth of the towers.
        head_deformable: the last convolution of the class and box towers is a modulated deformable one.
        use_scale: one learnable factor per level on the box regression.
        prior_probability: initial foreground probability of the class logits.
        sizes_of_interest: upper bounds of max(l, t, r, b) on all levels but the last, in pixels. They assign objects to
            levels and, with twice the last one appended, normalise the relative coordinates.
        mask_branch_in_features: pyramid levels that feed the mask branch, finest first; the first gives its stride.
        mask_branch_channels, num_mask_branch_convs: width and depth of the mask branch.
        mask_branch_norm: norm in the mask branch.
        mask_feature_channels: channels of the mask features (C_bottom of Table 2).
        mask_head_layers, mask_head_channels: depth and width of the dynamic mask head (Table 1).
        mask_head_coordinates: coordinate channels of the dynamic mask head, "relative" to the instance's location,
            "absolute", or "none" (Table 3).
        mask_head_features: False gives the dynamic mask head coordinates alone (Table 3), and there is no mask branch;
            the first of `mask_branch_in_features` still tells the stride.
        mask_output_stride: stride of the mask logits: the mask feature stride, a half or a quarter of it (Table 5).
        semantic_loss: an auxiliary semantic segmentation branch on the first mask branch level, in training only.
        panoptic: a semantic branch for panoptic segmentation (section 3.2, Fig. 4) beside the instances. Panoptic
            labels are those of the things, 0 .. num_classes - 1, and then those of the stuff.
        num_stuff_classes, stuff_names, stuff_category_ids: the same as the three fields above for classes without
            instances.
        panoptic_in_features: pyramid levels of the semantic branch, finest first; the first gives its stride.
        panoptic_channels, panoptic_norm: width of each of these levels in the branch, and its norm.
        panoptic_things: what the semantic branch tells of things, "each" class of them or that it is "one" of them.
        score_threshold: detections with a reported score (the square root of class probability times centre-ness) at or
            below it are dropped, before NMS.
        threshold_with_centerness: False applies `score_threshold ** 2` to the class probability alone, AdelaiDet's
            `THRESH_WITH_CTR False`; the reported score stays the product's root, so it can then be lower.
        score_rule: the reported score: "root" as above, or "product", MMDetection's: the product itself. With
            "product" the class probability alone is held against `score_threshold` (without squaring it, and whatever
            `threshold_with_centerness` says) and ranks the `pre_nms_top_k`.
        clip_boxes: boxes are clipped to the image before NMS compares them, and empty ones dropped (MMDetection);
            False clips them in the results only.
        pre_nms_top_k: candidates kept per pyramid level.
        nms: what tells duplicates: the IoU of predicted boxes ("box"), or inference without boxes (section 4.6): that
            of masks ("mask"), or SOLOv2's Matrix NMS ("matrix"), which lowers the scores of masks that overlap better
            ones. Without boxes every candidate gets a mask, and the boxes in the results are those round the masks.
        nms_threshold: boxes (masks) of one class with an IoU above it are duplicates; not for "matrix".
        matrix_nms_kernel, matrix_nms_sigma: see `ops.matrix_nms`.
        max_detections: detections kept per image; 0 keeps all. Equal scores at the end are all kept, up to twice as
            many.
        mask_threshold: a pixel belongs to the mask when its probability is above it.
        panoptic_score_threshold, panoptic_overlap_threshold, stuff_area_limit: the merging rule of section 3.4, see
            `ops.panoptic_merge`: instances with a lower reported score, or that lose a larger share of their area, are
            left out; stuff of fewer pixels of the result becomes void.
        focal_loss_alpha, focal_loss_gamma: of the class loss (and of the auxiliary semantic loss).
        mask_loss_weight: factor on the mask loss (lambda of Eq. 2).
        semantic_loss_weight: factor on the auxiliary semantic loss.
        panoptic_loss_weight: factor on the loss of the semantic branch for panoptic segmentation (mu of Eq. 2).
        center_sampling: the centre of an object, that of its mask's mass ("mass") or of its box ("box", FCOS).
        center_sampling_radius: half-side of the positive region around an object's centre, in strides.
        box_quality: "centerness" learns Eq. 3 of FCOS; "iou" learns the IoU of the predicted box in its place.
        cls_loss_normalizer: the class loss is divided by the number of positives ("fg"), its moving average
            ("moving_fg") or the number of locations ("all").
        mask_loss_locations: which positive locations feed the mask loss: "all", "random"
            (`mask_loss_max_locations` per batch) or "top" (the best scoring of each object, about
            `mask_loss_top_per_image` per image; the paper's rule).
        mask_loss_max_locations: see above.
        mask_loss_top_per_image: see above.
    """

    name: str = "condinst"
    num_classes: int = 80
    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()

    pixel_order: str = "bgr"
    pixel_mean: tuple[float, float, float] = (103.530, 116.280, 123.675)
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    min_size_test: int = 800
    max_size_test: int = 1333
    min_size_train: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    max_size_train: int = 1333
    size_divisibility: int = 32

    backbone: str = "resnet50"
    backbone_base_channels: int = 64
    backbone_norm: str = "FrozenBN"
    stride_in_1x1: bool = True
    freeze_at: int = 2
    backbone_deformable: tuple[str, ...] = ()

    neck: str = "fpn"
    bifpn_repeats: int = 6
    neck_norm: str = "SyncBN"
    fpn_in_features: tuple[str, ...] = ("res3", "res4", "res5")
    fpn_channels: int = 256
    fpn_top_levels: int = 2

    head_in_features: tuple[str, ...] = ("p3", "p4", "p5", "p6", "p7")
    head_norm: str = "GN"
    num_share_convs: int = 0
    num_cls_convs: int = 4
    num_box_convs: int = 4
    head_deformable: bool = False
    use_scale: bool = True
    prior_probability: float = 0.01
    sizes_of_interest: tuple[int, ...] = (64, 128, 256, 512)

    mask_branch_in_features: tuple[str, ...] = ("p3", "p4", "p5")
    mask_branch_channels: int = 128
    num_mask_branch_convs: int = 4
    mask_branch_norm: str = "BN"
    mask_feature_channels: int = 8
    mask_head_layers: int = 3
    mask_head_channels: int = 8
    mask_head_coordinates: str = "relative"
    mask_head_features: bool = True
    mask_output_stride: int = 4
    semantic_loss: bool = False

    panoptic: bool = False
    num_stuff_classes: int = 0
    stuff_names: tuple[str, ...] = ()
    stuff_category_ids: tuple[int, ...] = ()
    panoptic_in_features: tuple[str, ...] = ("p2", "p3", "p4", "p5")
    panoptic_channels: int = 128
    panoptic_norm: str = "GN"
    panoptic_things: str = "each"

    score_threshold: float = math.sqrt(0.05)
    threshold_with_centerness: bool = True
    score_rule: str = "root"
    clip_boxes: bool = False
    pre_nms_top_k: int = 1000
    nms: str = "box"
    nms_threshold: float = 0.6
    matrix_nms_kernel: str = "gaussian"
    matrix_nms_sigma: float = 2.0
    max_detections: int = 100
    mask_threshold: float = 0.5
    panoptic_score_threshold: float = 0.45
    panoptic_overlap_threshold: float = 0.4
    stuff_area_limit: int = 4096

    focal_loss_alpha: float = 0.25
    focal_loss_gamma: float = 2.0
    mask_loss_weight: float = 1.0
    semantic_loss_weight: float = 1.0
    panoptic_loss_weight: float = 0.5
    center_sampling: str = "mass"
    center_sampling_radius: float = 1.5
    box_quality: str = "centerness"
    cls_loss_normalizer: str = "fg"
    mask_loss_locations: str = "random"
    mask_loss_max_locations: int = 500
    mask_loss_top_per_image: int = 64

    def __post_init__(self) -> None:
        check_types(self, also={"category_ids": str, "stuff_category_ids": str})  # as data sets may have them
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {shorten(getattr(self, name))}")
        self._check_ranges()
        self._check_levels()

    def _check_ranges(self) -> None:
        for field in dataclasses.fields(self):
            if type(field.default) is int:
                self._check_range(field.name, getattr(self, field.name))
        for name in ("min_size_train", "sizes_of_interest"):
            for size in getattr(self, name):
                self._check_range(name, size)
        for name in (
            "score_threshold",
            "nms_threshold",
            "mask_threshold",
            "panoptic_score_threshold",
            "panoptic_overlap_threshold",
            "focal_loss_alpha",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in 0..1, got {getattr(self, name)}")
        for name in ("mask_loss_weight", "semantic_loss_weight", "panoptic_loss_weight", "focal_loss_gamma"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected a number of at least 0, got {getattr(self, name)}")
        for name in ("center_sampling_radius", "matrix_nms_sigma"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if not 0 < self.prior_probability < 1:
            raise ValueError(f"prior_probability: expected a number between 0 and 1, got {self.prior_probability}")
        if max(map(abs, self.pixel_mean)) > _PIXEL_RANGE:
            raise ValueError(f"pixel_mean: expected at most {_PIXEL_RANGE}, got {self.pixel_mean}")
        if not 1 / _PIXEL_RANGE <= min(self.pixel_std) <= max(self.pixel_std) <= _PIXEL_RANGE:
            raise ValueError(f"pixel_std: expected 1 / {_PIXEL_RANGE} to {_PIXEL_RANGE}, got {self.pixel_std}")
        for name in ("class_names", "category_ids"):
            if len(getattr(self, name)) not in (0, self.num_classes):
                raise ValueError(f"{name}: expected {self.num_classes} (num_classes), got {len(getattr(self, name))}")
        for name in ("stuff_names", "stuff_category_ids"):
            if len(getattr(self, name)) not in (0, self.num_stuff_classes):
                raise ValueError(
                    f"{name}: expected {self.num_stuff_classes} (num_stuff_classes), got {len(getattr(self, name))}"
                )
        if self.mask_head_coordinates == "none" and not self.mask_head_features:
            raise ValueError("mask_head_features: expected True with mask_head_coordinates none, got False")
        if self.freeze_at > 5:
            raise ValueError(f"freeze_at: expected 0..5, got {self.freeze_at}")
        if self.backbone == "dla34":
            self._check_dla()
        # one channel per group would leave nothing to normalise on a map of one cell
        if self.head_norm in ("GN", "NaiveGN") and (self.fpn_channels % 32 or self.fpn_channels < 64):
            raise ValueError(
                f"fpn_channels: expected a multiple of 32, at least 64, with head_norm {self.head_norm},"
                f" got {self.fpn_channels}"
            )
        if not self.min_size_train:
            raise ValueError("min_size_train: expected at least one size, got none")

    def _check_range(self, name: str, value: int) -> None:
        least = 0 if name in _MAY_BE_ZERO else 1
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
        most, reason = _MOST.get(name, (_LARGEST, "the largest number of 32 bits"))
        if value > most:
            raise ValueError(f"{name}: expected at most {most} ({reason}), got {value}")

    def _check_dla(self) -> None:
        if self.freeze_at:
            raise ValueError(f"freeze_at: expected 0 with backbone dla34, got {self.freeze_at}")
        if self.backbone_deformable:
            raise ValueError(f"backbone_deformable: expected none with backbone dla34, got {self.backbone_deformable}")
        if self.backbone_base_channels % 4:
            raise ValueError(
                "backbone_base_channels: expected a multiple of 4 with backbone dla34,"
                f" got {self.backbone_base_channels}"
            )
        # its trees join pooled maps with convolved ones, which are larger where a side is odd
        if self.size_divisibility % 32:
            raise ValueError(
                f"size_divisibility: expected a multiple of 32 with backbone dla34, got {self.size_divisibility}"
            )

    def _check_levels(self) -> None:
        allowed = ("res2", "res3", "res4", "res5")
        if tuple(self.fpn_in_features) not in {allowed[i:] for i in range(4)}:
            raise ValueError(
                f"fpn_in_features: expected consecutive stages ending in res5, got {shorten(self.fpn_in_features)}"
            )
        if self.neck == "bifpn" and len(self.fpn_levels) < 2:
            raise ValueError("fpn_in_features: expected at least two levels with neck bifpn and no top levels, got one")
        if self.fpn_top_levels not in (0, 2):
            raise ValueError(f"fpn_top_levels: expected 0 or 2, got {self.fpn_top_levels}")
        if self.panoptic:
            self._check_panoptic()
        for name in ("head_in_features", "mask_branch_in_features", *["panoptic_in_features"] * self.panoptic):
            unknown = set(getattr(self, name)) - set(self.fpn_levels)
            if unknown or not getattr(self, name) or list(getattr(self, name)) != sorted(set(getattr(self, name))):
                raise ValueError(
                    f"{name}: expected levels of {self.fpn_levels}, finest first, got {shorten(getattr(self, name))}"
                )
        # the branches upsample their levels by whole factors
        branches = {"mask": self.mask_branch_in_features}
        if self.panoptic:
            branches["semantic"] = self.panoptic_in_features
        for branch, levels in branches.items():
            coarsest = 2 ** int(levels[-1][1:])
            if self.size_divisibility % coarsest:
                raise ValueError(
                    f"size_divisibility: expected a multiple of {coarsest}, the coarsest stride of the {branch} branch,"
                    f" got {self.size_divisibility}"
                )
        if len(self.sizes_of_interest) != len(self.head_in_features) - 1:
            raise ValueError(
                f"sizes_of_interest: expected {len(self.head_in_features) - 1} sizes, one less than head_in_features,"
                f" got {shorten(self.sizes_of_interest)}"
            )
        allowed_strides = [self.mask_feature_stride // factor for factor in UPSAMPLE_FACTORS]
        if self.mask_output_stride not in allowed_strides:
            raise ValueError(
                f"mask_output_stride: expected one of {allowed_strides} at the mask feature stride"
                f" {self.mask_feature_stride}, got {self.mask_output_stride}"
            )

    def _check_panoptic(self) -> None:
        # one channel per group would leave nothing to normalise on a map of one cell
        if self.panoptic_norm == "GN" and (self.panoptic_channels % 32 or self.panoptic_channels < 64):
            raise ValueError(
                "panoptic_channels: expected a multiple of 32, at least 64, with panoptic_norm GN,"
                f" got {self.panoptic_channels}"
            )

    @property
    def fpn_levels(self) -> tuple[str, ...]:
        """Names of all pyramid levels, finest first: "p3" has stride 8, "p4" 16 and so on."""
        first = int(self.fpn_in_features[0][3:])
        return tuple(f"p{level}" for level in range(first, 6 + self.fpn_top_levels))

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of `head_in_features` in pixels."""
        return tuple(2 ** int(level[1:]) for level in self.head_in_features)

    @property
    def mask_feature_stride(self) -> int:
        """Stride of the mask features in pixels: that of the first level of the mask branch."""
        return 2 ** int(self.mask_branch_in_features[0][1:])

    @property
    def panoptic_stride(self) -> int:
        """Stride of the semantic branch in pixels: that of its first level."""
        return 2 ** int(self.panoptic_in_features[0][1:])

    @property
    def num_thing_channels(self) -> int:
        """Channels of the semantic branch that are things; those of the stuff come after them."""
        return self.num_classes if self.panoptic_things == "each" else 1

    @property
    def panoptic_names(self) -> tuple[str, ...]:
        """The name of each panoptic label; empty unless all have one."""
        return self._of_all_labels(self.class_names + self.stuff_names)

    @property
    def panoptic_category_ids(self) -> tuple[int, ...]:
        """The category id of each panoptic label; empty unless all have one."""
        return self._of_all_labels(self.category_ids + self.stuff_category_ids)

    def _of_all_labels(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values if len(values) == self.num_classes + self.num_stuff_classes else ()

    @property
    def level_sizes_of_interest(self) -> tuple[int, ...]:
        """Divisor of the relative coordinates for each level of `head_in_features`, in pixels."""
        if not self.sizes_of_interest:
            return (64,)
        return (*self.sizes_of_interest, 2 * self.sizes_of_interest[-1])

    @property
    def num_mask_head_params(self) -> int:
        """Numbers that the controller predicts per location: all weights, then all biases, of the dynamic mask head."""
        in_channels = self.mask_feature_channels if self.mask_head_features else 0
        in_channels += 0 if self.mask_head_coordinates == "none" else 2
        return num_mask_head_params(in_channels, self.mask_head_channels, self.mask_head_layers)

    def replace(self, /, **overrides: Any) -> CondInstConfig:
        """A copy with some fields changed; other numbers of classes leave the old names and category ids behind.

        Raises:
            TypeError: a value of another type than its field's.
            ValueError: for a name that is not a field, with the nearest one; for a value out of range.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for name in overrides:
            if name not in known:
                raise ValueError(f"{shorten(name)[1:-1]}: not a field of CondInstConfig{did_you_mean(name, known)}")
        if overrides.get("num_classes", self.num_classes) != self.num_classes:
            overrides = {"class_names": (), "category_ids": ()} | overrides
        if overrides.get("num_stuff_classes", self.num_stuff_classes) != self.num_stuff_classes:
            overrides = {"stuff_names": (), "stuff_category_ids": ()} | overrides
        return dataclasses.replace(self, **overrides)

    def to_json(self) -> str:
        """All fields as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CondInstConfig:
        """The inverse of `to_json`.

        Raises:
            ValueError: no JSON object of fields, or values that do not fit.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists in lists
            raise ValueError(f"expected a JSON object: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"expected a JSON object, got {shorten(fields)}")
        return cls.from_file(fields)

    @classmethod
    def from_file(cls, fields: dict[str, Any]) -> CondInstConfig:
        """The default config with the fields that a file holds.

        Raises:
            ValueError: an unknown name, or a value of another type or out of range.
        """
        try:
            return cls().replace(**fields)
        except TypeError as error:  # that of a caller, not of a file
            raise ValueError(str(error)) from error


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of a message on an unknown name: the known one that is nearest, if one is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
