"""The configuration of a CondInst model: every choice that numerics 1 and 2 leave open, as a flat dataclass."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from ..classes import Classes
from ..fields import (
    Above,
    AtLeast,
    AtMost,
    Between,
    OldName,
    Within,
    check_fields,
    check_names,
    flat_values,
    rename_old_fields,
)
from ..messages import shorten
from ..ops.common.mask_network import UPSAMPLE_FACTORS, num_mask_head_params

# What is larger would ask for memory that no machine has, and mostly comes from a damaged file.
_In32Bits = AtMost(2**31 - 1, "the largest number of 32 bits")  # in which the kernels count
_Count = Annotated[int, AtLeast(1), _In32Bits]
_CountOrZero = Annotated[int, AtLeast(0), _In32Bits]
_Side = Annotated[int, AtLeast(1), AtMost(16_384, "the side of a picture of 268 million pixels")]
_Width = Annotated[int, AtLeast(1), AtMost(8192, "32 times the published width or more")]
_MaskHeadWidth = Annotated[int, AtLeast(1), AtMost(1024, "128 times the published width")]
_MostConvs = AtMost(256, "more than 40 times the published depth")
_Convs = Annotated[int, AtLeast(0), _MostConvs]
_Share = Annotated[float, Within(0, 1)]
_Weight = Annotated[float, AtLeast(0)]
_PixelMean = Annotated[float, Within(-1_000_000, 1_000_000)]
_PixelDeviation = Annotated[float, Within(1e-6, 1_000_000)]


@dataclasses.dataclass(frozen=True)
class CondInstConfig:
    """Everything that decides what a CondInst model computes.

    The defaults are AdelaiDet's `MS_R_50_1x`. Sizes are in pixels of the network input unless said otherwise; boxes are
    (x1, y1, x2, y2).
    """

    name: str = "condinst"
    """Name of the model."""

    classes: Classes = Classes()
    """Things and stuff with names and category ids. Files and overrides hold the fields of `Classes` instead, such as
    `num_classes`, beside those of the config."""

    pixel_order: Literal["rgb", "bgr"] = "bgr"
    """Channel order that the network works in. Images given to the model are always RGB."""

    pixel_mean: tuple[_PixelMean, _PixelMean, _PixelMean] = (103.530, 116.280, 123.675)
    """Subtracted from pixel values in 0..255; in `pixel_order`."""

    pixel_std: tuple[_PixelDeviation, _PixelDeviation, _PixelDeviation] = (1.0, 1.0, 1.0)
    """Pixel values are divided by it after the subtraction; in `pixel_order`."""

    min_size_test: _Side = 800
    """An image is scaled so that its shorter side has this size, unless the longer one would exceed `max_size_test`."""

    max_size_test: _Side = 1333
    """Largest longer side; see `min_size_test`."""

    min_size_train: tuple[_Side, ...] = (640, 672, 704, 736, 768, 800)
    """As `min_size_test`, in training. `TrainingTransform` draws one of these for each image."""

    max_size_train: _Side = 1333
    """As `max_size_test`, in training."""

    size_divisibility: _Side = 32
    """Height and width of a batch are padded on the bottom and right to a multiple of it."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "dla34"] = "resnet50"
    """A ResNet of one of four depths, or DLA-34. The levels 2 to 5 of DLA-34 are also called res2 to res5."""

    backbone_base_channels: _Width = 64
    """Width of the stem; 64 is the published network, 32 half of it. DLA-34's stem has a quarter of it, 16 in the
    published network."""

    backbone_norm: Literal["FrozenBN", "BN", "SyncBN"] = "FrozenBN"
    """Norm in the backbone. "FrozenBN" has constant statistics and constant affine terms."""

    stride_in_1x1: bool = True
    """True puts the stride of a bottleneck in its first 1x1 convolution (Caffe and MSRA weights), False in its 3x3
    (torchvision weights). Networks without bottlenecks ignore it."""

    freeze_at: Annotated[int, AtLeast(0), AtMost(5, "the stem and four stages")] = 2
    """Number of backbone stages without gradient: 1 is the stem, 2 the stem and res2, 0 none. DLA-34 needs 0."""

    backbone_deformable: tuple[str, ...] = ()
    """Where the second convolution of a ResNet's block (the 3x3 of a bottleneck) is a modulated deformable one: stages
    ("res4" for all its blocks) and blocks ("res4.0")."""

    neck: Literal["fpn", "bifpn"] = "fpn"
    """The pyramid: "fpn" (Lin et al.) or "bifpn" (Tan et al., as AdelaiDet builds it). Both use the fields fpn_*."""

    bifpn_repeats: Annotated[int, AtLeast(1), _MostConvs] = 6
    """How often a BiFPN fuses all levels."""

    neck_norm: Literal["FrozenBN", "BN", "SyncBN"] = "SyncBN"
    """Norm in a BiFPN; an FPN has none."""

    fpn_in_features: tuple[str, ...] = ("res3", "res4", "res5")
    """Backbone stages that the neck takes, finest first."""

    fpn_channels: _Width = 256
    """Channels of all pyramid levels."""

    fpn_top_levels: Literal[0, 2] = 2
    """Number of levels above the last stage: 2 for P6 and P7, or 0."""

    head_in_features: tuple[str, ...] = ("p3", "p4", "p5", "p6", "p7")
    """Pyramid levels that the FCOS head runs on."""

    head_norm: Literal["GN", "NaiveGN", "BN", "SyncBN", "none"] = "GN"
    """Norm in the towers. "NaiveGN" is GroupNorm; "BN" and "SyncBN" keep separate statistics per level."""

    num_share_convs: _Convs = 0
    """Depth of the tower that classes and boxes share, below their own towers."""

    num_cls_convs: _Convs = 4
    """Depth of the tower for classes."""

    num_box_convs: _Convs = 4
    """Depth of the tower for boxes."""

    head_deformable: bool = False
    """Whether the last convolution of the class and box towers is a modulated deformable one."""

    use_scale: bool = True
    """Whether the box regression has one learnable factor per level."""

    prior_probability: Annotated[float, Between(0, 1)] = 0.01
    """Foreground probability of the class logits before training."""

    sizes_of_interest: tuple[Annotated[int, AtLeast(1), AtMost(2**20, "more than the side of any picture")], ...] = (
        64,
        128,
        256,
        512,
    )
    """Upper bounds of max(l, t, r, b) on all levels but the last. They assign objects to levels and, with twice the
    last one appended, normalise the relative coordinates."""

    mask_branch_in_features: tuple[str, ...] = ("p3", "p4", "p5")
    """Pyramid levels that feed the mask branch, finest first. The stride of the first one is that of the branch."""

    mask_branch_channels: _Width = 128
    """Width of the mask branch."""

    num_mask_branch_convs: _Convs = 4
    """Depth of the mask branch."""

    mask_branch_norm: Literal["BN", "SyncBN", "none"] = "BN"
    """Norm in the mask branch."""

    mask_feature_channels: _MaskHeadWidth = 8
    """Channels of the mask features (C_bottom of Table 2)."""

    mask_head_layers: Annotated[int, AtLeast(1), AtMost(32, "ten times the published depth")] = 3
    """Depth of the dynamic mask head (Table 1)."""

    mask_head_channels: _MaskHeadWidth = 8
    """Width of the dynamic mask head (Table 1)."""

    mask_head_coordinates: Literal["relative", "absolute", "none"] = "relative"
    """Coordinate channels of the dynamic mask head: "relative" to the instance's location, "absolute", or "none"
    (Table 3)."""

    mask_head_features: bool = True
    """False gives the dynamic mask head the coordinates alone (Table 3). There is then no mask branch, but the first of
    `mask_branch_in_features` still sets the stride."""

    mask_output_stride: _Count = 4
    """Stride of the mask logits: the stride of the mask features, a half or a quarter of it (Table 5)."""

    semantic_loss: bool = False
    """Whether an auxiliary semantic branch runs on the first level of the mask branch, in training only."""

    panoptic: bool = False
    """Whether a semantic branch for panoptic segmentation (section 3.2, Fig. 4) runs beside the instances."""

    panoptic_in_features: tuple[str, ...] = ("p2", "p3", "p4", "p5")
    """Pyramid levels of the semantic branch, finest first. The stride of the first one is that of the branch."""

    panoptic_channels: _Width = 128
    """Width of each level in the semantic branch."""

    panoptic_norm: Literal["GN", "BN", "SyncBN", "none"] = "GN"
    """Norm in the semantic branch."""

    separate_thing_channels: bool = True
    """Whether the semantic branch has one channel for each class of things. False gives it a single channel for all
    things, as in Panoptic FPN."""

    score_threshold: _Share = math.sqrt(0.05)
    """Detections with a reported score (the square root of class probability times centre-ness) at or below it are
    dropped before NMS."""

    threshold_with_centerness: bool = True
    """False applies `score_threshold ** 2` to the class probability alone, as AdelaiDet's `THRESH_WITH_CTR False`. The
    reported score stays the root of the product, so it can be below the threshold."""

    score_rule: Literal["root", "product"] = "root"
    """The reported score: "root" as for `score_threshold`, or "product", MMDetection's: the product itself. With
    "product", the class probability alone is compared with `score_threshold` (not squared, whatever
    `threshold_with_centerness` is) and ranks the `pre_nms_top_k` candidates."""

    clip_boxes: bool = False
    """True clips boxes to the image before NMS and drops empty ones, as MMDetection does. False clips them in the
    results only."""

    pre_nms_top_k: _Count = 1000
    """Candidates kept per pyramid level."""

    nms: Literal["box", "mask", "matrix"] = "box"
    """How duplicates are recognised: by the IoU of predicted boxes ("box"), or without boxes (section 4.6) by the IoU
    of masks ("mask") or with SOLOv2's Matrix NMS ("matrix"), which lowers the scores of masks that overlap better ones.
    Without boxes every candidate gets a mask, and the boxes in the results are those around the masks."""

    nms_threshold: _Share = 0.6
    """Boxes (masks) of one class with a higher IoU are duplicates. "matrix" does not use it."""

    matrix_nms_kernel: Literal["gaussian", "linear"] = "gaussian"
    """How an overlap lowers a score; see `ops.matrix_nms`."""

    matrix_nms_sigma: Annotated[float, Above(0)] = 2.0
    """How strongly the kernel "gaussian" lowers scores; see `ops.matrix_nms`."""

    max_detections: _CountOrZero = 100
    """Detections kept per image; 0 keeps all. Detections that tie with the last one are all kept, up to twice as
    many."""

    mask_threshold: _Share = 0.5
    """A pixel belongs to the mask when its probability is above it."""

    panoptic_score_threshold: _Share = 0.45
    """Instances with a lower reported score are left out of panoptic results (section 3.4); see
    `ops.panoptic_merge`."""

    panoptic_overlap_threshold: _Share = 0.4
    """Instances that lose a larger share of their area to better ones are left out of panoptic results."""

    stuff_area_limit: _CountOrZero = 4096
    """Stuff with fewer pixels in a panoptic result becomes void."""

    focal_loss_alpha: _Share = 0.25
    """Alpha of the class loss and of the auxiliary semantic loss."""

    focal_loss_gamma: _Weight = 2.0
    """Gamma of the class loss and of the auxiliary semantic loss."""

    mask_loss_weight: _Weight = 1.0
    """Factor on the mask loss (lambda of Eq. 2)."""

    semantic_loss_weight: _Weight = 1.0
    """Factor on the auxiliary semantic loss."""

    panoptic_loss_weight: _Weight = 0.5
    """Factor on the loss of the semantic branch for panoptic segmentation (mu of Eq. 2)."""

    center_sampling: Literal["mass", "box"] = "mass"
    """The centre of an object: that of its mask's mass ("mass") or of its box ("box", FCOS)."""

    center_sampling_radius: Annotated[float, Above(0)] = 1.5
    """Half-side of the positive region around an object's centre, in strides."""

    box_quality: Literal["centerness", "iou"] = "centerness"
    """What the centre-ness branch learns: Eq. 3 of FCOS ("centerness"), or the IoU of the predicted box ("iou")."""

    cls_loss_normalizer: Literal["fg", "moving_fg", "all"] = "fg"
    """The class loss is divided by the number of positives ("fg"), its moving average ("moving_fg") or the number of
    locations ("all")."""

    mask_loss_locations: Literal["all", "random", "top"] = "random"
    """Which positive locations feed the mask loss: "all" of them, "random" ones, or the "top" ones: the best scoring
    locations of each object, which is the paper's rule."""

    mask_loss_max_locations: _Count = 500
    """Locations per batch that `mask_loss_locations = "random"` draws."""

    mask_loss_top_per_image: _Count = 64
    """Locations per image that `mask_loss_locations = "top"` takes, about evenly over the objects."""

    OLD_NAMES: ClassVar[Mapping[str, OldName]] = {
        "panoptic_things": OldName("separate_thing_channels", {"each": True, "one": False}),
    }
    """Former names of fields. Config files, overrides and checkpoints may still have them."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {self.num_classes}")
        if not self.min_size_train:
            raise ValueError("min_size_train: expected at least one size, got none")
        if self.mask_head_coordinates == "none" and not self.mask_head_features:
            raise ValueError("mask_head_features: expected True with mask_head_coordinates none, got False")
        if self.backbone == "dla34":
            self._check_dla()
        # one channel per group would leave nothing to normalise on a map of one cell
        if self.head_norm in ("GN", "NaiveGN") and (self.fpn_channels % 32 or self.fpn_channels < 64):
            raise ValueError(
                f"fpn_channels: expected a multiple of 32, at least 64, with head_norm {self.head_norm},"
                f" got {self.fpn_channels}"
            )
        self._check_levels()

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
    def num_classes(self) -> int:
        """Number of classes of things; labels are 0 .. num_classes - 1."""
        return self.classes.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class of things, or nothing."""
        return self.classes.class_names

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The category id of each class of things, or nothing."""
        return self.classes.category_ids

    @property
    def num_stuff_classes(self) -> int:
        """Number of classes without instances."""
        return self.classes.num_stuff_classes

    @property
    def stuff_names(self) -> tuple[str, ...]:
        """The name of each class without instances, or nothing."""
        return self.classes.stuff_names

    @property
    def stuff_category_ids(self) -> tuple[int | str, ...]:
        """The category id of each class without instances, or nothing."""
        return self.classes.stuff_category_ids

    @property
    def panoptic_names(self) -> tuple[str, ...]:
        """See `Classes.panoptic_names`."""
        return self.classes.panoptic_names

    @property
    def panoptic_category_ids(self) -> tuple[int | str, ...]:
        """See `Classes.panoptic_category_ids`."""
        return self.classes.panoptic_category_ids

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
        return self.num_classes if self.separate_thing_channels else 1

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
        """A copy with some fields changed. A new number of classes drops their names and category ids.

        Raises:
            TypeError: a value of another type than its field's.
            ValueError: for a name that is not a field, with the nearest one; for a value out of range.
        """
        overrides = rename_old_fields(CondInstConfig, overrides)
        check_names(CondInstConfig, overrides)
        of_classes = {field.name for field in dataclasses.fields(Classes)} & overrides.keys()
        if of_classes:
            if "classes" in overrides:
                raise ValueError(f"classes: expected this or its field {min(of_classes)}, got both")
            overrides["classes"] = self.classes.replace(**{name: overrides.pop(name) for name in of_classes})
        return dataclasses.replace(self, **overrides)

    def to_json(self) -> str:
        """All fields as a JSON object, those of `classes` beside the others."""
        return json.dumps(flat_values(self))

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
            return _default_config().replace(**fields)
        except TypeError as error:  # that of a caller, not of a file
            raise ValueError(str(error)) from error


@functools.cache
def _default_config() -> CondInstConfig:
    return CondInstConfig()
