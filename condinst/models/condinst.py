"""CondInst (Tian et al., 2022): instance segmentation by conditional convolutions."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from ..data.images import ImageSource, read_image
from ..data.resize import network_size, resize_image
from ..messages import is_out_of_memory
from .adjustable import check_adjustable
from .backbones import make_backbone
from .config import CondInstConfig
from .detections import Detections, select_detections
from .eval_view import eval_view
from .heads import FCOSHead, MaskBranch, SemanticBranch
from .losses import DetectionLoss, mask_loss, panoptic_loss, semantic_loss
from .meta import meta_device
from .necks import make_neck
from .network import NetworkOutputs, make_locations
from .panoptic import merge_panoptic
from .predictions import Predictions, make_predictions
from .preprocessing import (
    ImageBatch,
    Targets,
    check_images,
    check_targets,
    join_targets,
    make_batch,
    make_extents,
    resize_target,
)
from .results import MASK_FORMATS, drop_invisible, encode_masks, make_results

_logger = logging.getLogger(__name__)

SourceT = TypeVar("SourceT", bound=ImageSource)
"""The type of the images in a list. Type checkers do not accept a list of paths as a list of a union."""


class CondInst(nn.Module):
    """Instance and panoptic segmentation in torchvision's convention: losses in training, detections in eval.

    Args:
        config: the architecture and the rules; see `CondInstConfig`. Weights are initialised as in AdelaiDet (numerics
            2.7), and the weights of the backbone are random.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("pixel_mean", None, persistent=False)
        self.register_buffer("pixel_std", None, persistent=False)
        self.backbone = make_backbone(config)
        in_channels = [self.backbone.out_channels[stage] for stage in config.fpn_in_features]
        self.neck = make_neck(config, in_channels)
        self.head = FCOSHead(config)
        self.mask_branch = MaskBranch(config)
        self.semantic_branch = SemanticBranch(config) if config.panoptic else None
        self.detection_loss = DetectionLoss(config)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Sets all buffers that are not saved to the values of a new model, on PyTorch's default device."""
        self.pixel_mean = torch.tensor(self.config.pixel_mean, dtype=torch.float32).reshape(3, 1, 1)
        self.pixel_std = torch.tensor(self.config.pixel_std, dtype=torch.float32).reshape(3, 1, 1)
        self.detection_loss.reset_constants()

    def with_config(self, **overrides: Any) -> CondInst:
        """A model with the same weights and another config, for example with other thresholds.

        The new model is on the same device and in the same mode, and the same parameters are frozen. Both models share
        the memory of their weights, so training either of them changes both. Hooks are not carried over.

        Args:
            **overrides: fields of `CondInstConfig` that do not describe the network, such as `score_threshold=0.05`.

        Raises:
            TypeError: a value that has another type than its field.
            ValueError: an unknown field, a value out of range, or a field that describes the network.
        """
        config = self.config.replace(**overrides)
        check_adjustable(self.config, config)
        with meta_device():
            model = CondInst(config)
        model.load_state_dict(self.state_dict(), assign=True)
        with self.device:
            model.reset_constants()
        model.detection_loss.moving_num_positives.copy_(self.detection_loss.moving_num_positives)
        for part, old_part in zip(model.modules(), self.modules(), strict=True):
            part.training = old_part.training
        for parameter, old_parameter in zip(model.parameters(), self.parameters(), strict=True):
            parameter.requires_grad_(old_parameter.requires_grad)
        return model

    @overload
    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]],
        *,
        resize: bool = True,
    ) -> dict[str, Tensor]: ...

    @overload
    def forward(
        self,
        images: Sequence[Tensor],
        targets: None = None,
        *,
        resize: bool = True,
        output_sizes: Sequence[tuple[int, int]] | None = None,
        mask_format: str = "bool",
        panoptic: bool = False,
    ) -> list[dict[str, Any]]: ...

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]] | None = None,
        *,
        resize: bool = True,
        output_sizes: Sequence[tuple[int, int]] | None = None,
        mask_format: str = "bool",
        panoptic: bool = False,
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses in training mode, detections in eval mode.

        Training goes ``preprocess -> network -> losses``, inference ``preprocess -> network -> detect -> mask logits
        -> encode -> results``.

        Args:
            images: [3, H_i, W_i] RGB tensors of any sizes, uint8 or floating in 0..1, on any device.
            targets: in training, one dict per image: `boxes` [G, 4] float (x1, y1, x2, y2) in pixels of the image,
                `labels` [G] int64 in 0 .. num_classes - 1, `masks` [G, H_i, W_i] bool. G may be 0. With
                ``resize=False`` masks may also be COCO run lengths in a list `rles`. A `panoptic` model also needs
                `semantic` [H_i, W_i] integers: panoptic labels, -1 for pixels without a label.
            resize: whether to resize images (and targets) to the network size of the config, `min_size_test` and
                `max_size_test`. Random sizes are chosen by `TrainingTransform`.
            output_sizes: in eval, (height, width) of the results of each image; by default the size of the image.
            mask_format: in eval, "bool" for masks as pixels, or "rle" for COCO run lengths instead, in memory that does
                not grow with pixels times objects.
            panoptic: in eval, also merge instances and stuff (section 3.4); for `panoptic` models.

        Returns:
            In training a dict of scalars: `loss_cls`, `loss_box`, `loss_centerness`, `loss_mask` and, with
            `semantic_loss`, `loss_semantic`, with a `panoptic` config `loss_panoptic`. In eval one dict per image,
            detections by falling score: `boxes` [K, 4] float32 (x1, y1, x2, y2) within the output, `scores` [K] in
            0..1, `labels` [K] int64, and `masks` [K, height, width] bool or, with `mask_format` "rle", `rles`, a list
            of K ``{"size": [height, width], "counts": bytes}``. With `panoptic` also `panoptic`, a dict of `ids`
            [height, width] int32 (0 is void) and `segments_info`, for segment 1, 2, ... a dict of `id`, `label` (a
            panoptic label), `isthing`, `area` (px) and, of things, `score`.

        Raises:
            TypeError: wrong types or dtypes.
            ValueError: wrong shapes or values; targets missing in training; `output_sizes` in training; an unknown
                `mask_format`; `panoptic` without a semantic branch.
        """
        check_images(images)
        if self.training:
            if targets is None:
                raise ValueError("targets: expected one dict per image in training mode, got None")
            if output_sizes is not None:
                raise ValueError("output_sizes: only for inference, and the model is in training mode")
            batch = self.preprocess(images, targets, resize=resize)
            assert batch.targets is not None
            return self.losses(self.network(batch.pixels), batch.targets)

        if output_sizes is not None and len(output_sizes) != len(images):
            raise ValueError(f"output_sizes: expected one per image ({len(images)}), got {len(output_sizes)}")
        if mask_format not in MASK_FORMATS:
            raise ValueError(f"mask_format: expected one of {', '.join(MASK_FORMATS)}; got {mask_format!r}")
        if panoptic and self.semantic_branch is None:
            raise ValueError(f"panoptic: expected a model with a semantic branch, and {self.config.name} has none")
        if not images:
            return []
        with torch.no_grad():
            batch = self.preprocess(images, resize=resize, output_sizes=output_sizes)
            outputs = self.network(batch.pixels)
            detections = drop_invisible(self.detect(outputs, batch), batch)
            masks = encode_masks(detections, batch, mask_format, self.config)
            results = make_results(detections, masks, batch)
            if panoptic:
                segments = merge_panoptic(detections, self.semantic_logits(outputs), batch, self.config)
                results = [{**result, "panoptic": merged} for result, merged in zip(results, segments, strict=True)]
        return results

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.pixel_mean.device

    @overload
    def predict(
        self,
        source: list[SourceT],
        *,
        score_threshold: float | None = None,
        panoptic: bool = True,
        errors: Literal["raise"] = "raise",
    ) -> list[Predictions]: ...

    @overload
    def predict(
        self,
        source: list[SourceT],
        *,
        score_threshold: float | None = None,
        panoptic: bool = True,
        errors: Literal["skip"],
    ) -> list[Predictions | None]: ...

    @overload
    def predict(
        self, source: ImageSource, *, score_threshold: float | None = None, panoptic: bool = True
    ) -> Predictions: ...

    def predict(
        self,
        source: ImageSource | list[SourceT],
        *,
        score_threshold: float | None = None,
        panoptic: bool = True,
        errors: Literal["raise", "skip"] = "raise",
    ) -> Predictions | list[Predictions] | list[Predictions | None]:
        """Segments one image, or the images of a list one after the other, for users to look at and to save.

        The model may be in any mode, which is neither changed nor looked at, and several threads may call this at once.

        Args:
            source: a path, PIL image, uint8 array [H, W, 3] or tensor [3, H, W]; or a list of these.
            score_threshold: drops objects whose reported score is at or below it. It cannot be lower than
                `config.score_threshold`, because the model already drops objects at or below that. It has no influence
                on the panoptic result, which uses `config.panoptic_score_threshold`.
            panoptic: whether a `panoptic` model also merges its instances with stuff.
            errors: what an image of a list that cannot be read, or does not fit in the GPU's memory, does: "raise" its
                error, or "skip" it, with None in its place and a warning in the log.

        Returns:
            `Predictions`, or a list of them for a list.

        Raises:
            ValueError: an image that cannot be read, a threshold outside config.score_threshold .. 1, or an unknown
                `errors`.
            TypeError: an image of another type.
        """
        config = self.config
        lowest = config.score_threshold
        if score_threshold is not None and not lowest <= score_threshold <= 1:
            raise ValueError(
                f"score_threshold: expected {lowest:.4g} (the model's own) to 1, got {score_threshold};"
                " condinst.load(..., score_threshold=...) sets the model's"
            )
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors: expected raise or skip, got {errors!r}")
        view = eval_view(self)

        def segment(image_source: ImageSource) -> Predictions:
            image = read_image(image_source)
            (result,) = view([image.to(self.device)], mask_format="rle", panoptic=panoptic and config.panoptic)
            return make_predictions(image, result, config, score_threshold)

        if not isinstance(source, list):
            return segment(source)
        if errors == "raise":
            return [segment(image) for image in source]
        return [_unless_skipped(segment, image, index) for index, image in enumerate(source)]

    def preprocess(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Mapping[str, Any]] | None = None,
        *,
        resize: bool = True,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> ImageBatch:
        """Resizes, normalises and pads images, and applies the same to their objects.

        Args:
            images: at least one image; see `forward`.
            targets: see `forward`; None without targets.
            resize: see `forward`.
            output_sizes: see `forward`; by default the sizes of `images`.
        """
        config = self.config
        if targets is not None:
            if not images:
                raise ValueError("images: expected at least one image in training mode, got none")
            check_targets(targets, images, config)
            if resize and any("rles" in target for target in targets):
                raise ValueError("targets: 'rles' are for resize=False; to be resized, masks must be pixels ('masks')")
        image_sizes = [(image.shape[1], image.shape[2]) for image in images]
        network_sizes = image_sizes
        if resize:
            network_sizes = [network_size(*size, config.min_size_test, config.max_size_test) for size in image_sizes]
            images = [resize_image(image, size) for image, size in zip(images, network_sizes, strict=True)]
            if targets is not None:
                targets = [resize_target(*each) for each in zip(targets, image_sizes, network_sizes, strict=True)]
        pixels = make_batch(images, config, self.pixel_mean, self.pixel_std)
        output_sizes = image_sizes if output_sizes is None else list(output_sizes)
        return ImageBatch(
            pixels=pixels,
            network_sizes=network_sizes,
            output_sizes=output_sizes,
            network_extents=make_extents(network_sizes, self.device),
            output_extents=make_extents(output_sizes, self.device),
            targets=None
            if targets is None
            else join_targets(targets, (pixels.shape[2], pixels.shape[3]), config, self.device),
        )

    def network(self, pixels: Tensor) -> NetworkOutputs:
        """Runs everything that does not depend on the detections: backbone, neck, head and mask branch.

        Args:
            pixels: [B, 3, H, W] normalised and padded images.
        """
        config = self.config
        stages = self.backbone(pixels)
        names = config.fpn_levels[: len(config.fpn_in_features)]
        chosen = OrderedDict((name, stages[stage]) for name, stage in zip(names, config.fpn_in_features, strict=True))
        pyramid = self.neck(chosen)
        head = self.head([pyramid[name] for name in config.head_in_features])
        return NetworkOutputs(
            head=head,
            locations=make_locations(head.level_sizes, config, pixels.device),
            mask_features=self.mask_branch([pyramid[name] for name in config.mask_branch_in_features]),
            pyramid=pyramid,
        )

    def semantic_logits(self, outputs: NetworkOutputs) -> Tensor:
        """The semantic branch of a `panoptic` model: [B, channels, H, W] at its stride, things first."""
        assert self.semantic_branch is not None
        return self.semantic_branch([outputs.pyramid[name] for name in self.config.panoptic_in_features])

    def detect(self, outputs: NetworkOutputs, batch: ImageBatch) -> Detections:
        """The detections of each image in network pixels, also outside of the image; see `Detections`."""
        return select_detections(outputs, self.config, batch.network_extents)

    def losses(self, outputs: NetworkOutputs, targets: Targets) -> dict[str, Tensor]:
        """The losses of a batch with these targets, see `forward`."""
        config = self.config
        losses, chosen = self.detection_loss(outputs.head, targets)
        losses["loss_mask"] = config.mask_loss_weight * mask_loss(outputs, chosen, targets, config)
        if config.semantic_loss:
            logits = self.mask_branch.semantic_logits(outputs.pyramid[config.mask_branch_in_features[0]])
            losses["loss_semantic"] = config.semantic_loss_weight * semantic_loss(logits, targets, config)
        if config.panoptic:
            loss = panoptic_loss(self.semantic_logits(outputs), targets, config)
            losses["loss_panoptic"] = config.panoptic_loss_weight * loss
        return losses


def _unless_skipped(
    segment: Callable[[ImageSource], Predictions], image: ImageSource, index: int
) -> Predictions | None:
    """What is in an image of a list; None, with a warning, where it is the image that is at fault."""
    try:
        return segment(image)
    except Exception as error:
        if not (isinstance(error, ValueError | TypeError) or is_out_of_memory(error)):
            raise
        _logger.warning("skipped image %d of the list: %s", index, str(error).partition("\n")[0])
        return None
