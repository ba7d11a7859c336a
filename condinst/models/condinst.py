"""CondInst (Tian et al., 2022): instance segmentation by conditional convolutions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .. import ops
from ..data.resize import network_size, resize_image
from ..distributed import mean_over_processes
from .adjustable import check_adjustable
from .backbones import make_backbone
from .config import CondInstConfig
from .detections import Detections, Locations, MaskLogits, make_locations, select_detections
from .heads import FCOSHead, HeadOutputs, MaskBranch, SemanticBranch
from .losses import (
    DetectionLoss,
    MaskLocations,
    at_locations,
    panoptic_loss,
    semantic_loss,
)
from .necks import make_neck
from .panoptic import with_panoptic
from .preprocessing import (
    Targets,
    check_images,
    check_targets,
    join_targets,
    make_batch,
    resize_target,
)
from .results import MASK_FORMATS, ImageSizes, with_masks, with_rles

if TYPE_CHECKING:
    from .predictions import Predictions


class CondInst(nn.Module):
    """Instance and panoptic segmentation in torchvision's convention: losses in training, detections in eval.

    Args:
        config: the architecture and the rules; see `CondInstConfig`. Weights start as in AdelaiDet (numerics 2.7), the
            backbone at random.
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
        """Gives all buffers that are not saved the values of a new model, on PyTorch's default device."""
        self.pixel_mean = torch.tensor(self.config.pixel_mean, dtype=torch.float32).reshape(3, 1, 1)
        self.pixel_std = torch.tensor(self.config.pixel_std, dtype=torch.float32).reshape(3, 1, 1)
        self.detection_loss.reset_constants()

    def with_config(self, **overrides: Any) -> CondInst:
        """A model with the same weights and another config, for example with other thresholds.

        The new model is on the same device and in the same mode. The two share the memory of their weights: training
        one of them changes both.

        Args:
            **overrides: fields of `CondInstConfig` that the network is not built from, such as `score_threshold=0.05`.

        Raises:
            TypeError: a value of another type than its field's.
            ValueError: an unknown field, a value out of range, or a field that describes the network.
        """
        config = self.config.replace(**overrides)
        check_adjustable(self.config, config)
        with torch.device("meta"):
            model = CondInst(config)
        model.load_state_dict(self.state_dict(), assign=True)
        with self.device:
            model.reset_constants()
        model.detection_loss.moving_num_positives.copy_(self.detection_loss.moving_num_positives)
        return model.train(self.training)

    def forward(
        self,
        images: Sequence[Tensor],
        targets: Sequence[dict[str, Any]] | None = None,
        *,
        resize: bool = True,
        output_sizes: Sequence[tuple[int, int]] | None = None,
        mask_format: str = "bool",
        panoptic: bool = False,
    ) -> Any:
        """Losses in training mode, detections in eval mode.

        Args:
            images: [3, H_i, W_i] RGB tensors of any sizes, uint8 or floating in 0..1, on any device.
            targets: in training, one dict per image: `boxes` [G, 4] float (x1, y1, x2, y2) in pixels of the image,
                `labels` [G] int64 in 0 .. num_classes - 1, `masks` [G, H_i, W_i] bool. G may be 0. With
                ``resize=False`` masks may also be COCO run lengths in a list `rles`. A `panoptic` model also needs
                `semantic` [H_i, W_i] integers: panoptic labels, -1 where there is none.
            resize: bring images (and targets) to the network size of the config, in training to a random one of
                `min_size_train`; False takes them as they are.
            output_sizes: in eval, (height, width) of the results of each image instead of the image's own.
            mask_format: in eval, "bool" for masks as pixels, or "rle" for COCO run lengths in their place, in memory
                that does not grow with pixels times objects.
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
            return self._losses(images, targets, resize)
        if output_sizes is None:
            output_sizes = [(image.shape[1], image.shape[2]) for image in images]
        elif len(output_sizes) != len(images):
            raise ValueError(f"output_sizes: expected one per image ({len(images)}), got {len(output_sizes)}")
        if mask_format not in MASK_FORMATS:
            raise ValueError(f"mask_format: expected one of {', '.join(MASK_FORMATS)}; got {mask_format!r}")
        if panoptic and self.semantic_branch is None:
            raise ValueError(f"panoptic: expected a model with a semantic branch, and {self.config.name} has none")
        with torch.no_grad():
            return self._detect(images, resize, output_sizes, mask_format, panoptic)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    def predict(
        self, source: Any, *, score_threshold: float | None = None, panoptic: bool = True
    ) -> Predictions | list[Predictions]:
        """Segment one image, or a list of them, and get something to look at and to save.

        Args:
            source: a path, PIL image, uint8 array [H, W, 3] or tensor [3, H, W]; or a list of these.
            score_threshold: drop detections that score lower; by default the config's `score_threshold` alone counts.
            panoptic: let a `panoptic` model merge its instances with stuff, too.

        Returns:
            `Predictions`, or a list of them for a list. The model's mode is left as it was.

        Raises:
            ValueError: an image that cannot be read, with its name.
        """
        from .predictions import predict

        return predict(self, source, score_threshold=score_threshold, panoptic=panoptic)

    def features(self, batch: Tensor) -> tuple[HeadOutputs, Tensor, dict[str, Tensor]]:
        """The network without its dynamic part.

        Args:
            batch: [B, 3, H, W] normalised and padded images.

        Returns:
            Predictions at all locations, mask features [B, C, H/8, W/8], and the pyramid, by the names of its levels.
        """
        stages = self.backbone(batch)
        config = self.config
        names = config.fpn_levels[: len(config.fpn_in_features)]
        chosen = OrderedDict((name, stages[stage]) for name, stage in zip(names, config.fpn_in_features, strict=True))
        pyramid = self.neck(chosen)
        mask_levels = [pyramid[name] for name in config.mask_branch_in_features]
        outputs = self.head([pyramid[name] for name in config.head_in_features])
        return outputs, self.mask_branch(mask_levels), pyramid

    def mask_head_options(self) -> dict[str, Any]:
        """Keyword arguments of `ops.dynamic_mask_head` and `ops.dynamic_mask_loss`: the shape of the dynamic head."""
        config = self.config
        return {
            "feature_stride": config.mask_feature_stride,
            "num_layers": config.mask_head_layers,
            "channels": config.mask_head_channels,
            "coordinates": config.mask_head_coordinates,
            "use_features": config.mask_head_features,
            "upsample_factor": config.mask_feature_stride // config.mask_output_stride,
        }

    def detect(self, batch: Tensor) -> tuple[Detections, Locations, Tensor]:
        """Detections of a normalised, padded batch [B, 3, H, W] in network pixels, and their mask logits [K, h, w]."""
        found, locations, mask_logits = self.find(batch)
        return found, locations, mask_logits(found.image_indices, found.location_indices)

    def find(
        self, batch: Tensor, sizes: Sequence[tuple[int, int]] | None = None
    ) -> tuple[Detections, Locations, MaskLogits]:
        """As `detect`, with a function in place of the logits: (image, location) indices [k] to logits [k, h, w].

        Args:
            batch: [B, 3, H, W].
            sizes: (height, width) of each image without its padding, for `clip_boxes`; (H, W) by default.
        """
        outputs, mask_features, _ = self.features(batch)
        return self._find(outputs, mask_features, sizes or [(batch.shape[2], batch.shape[3])] * len(batch))

    def _find(
        self, outputs: HeadOutputs, mask_features: Tensor, sizes: Sequence[tuple[int, int]]
    ) -> tuple[Detections, Locations, MaskLogits]:
        locations = make_locations(outputs.level_sizes, self.config, mask_features.device)

        def mask_logits(image: Tensor, location: Tensor) -> Tensor:
            return ops.dynamic_mask_head(
                mask_features,
                outputs.mask_head_params[image, location],
                locations.points[location],
                image,
                locations.sizes_of_interest[location],
                **self.mask_head_options(),
            )

        return select_detections(outputs, self.config, mask_logits, sizes), locations, mask_logits

    def semantic_logits(self, pyramid: dict[str, Tensor]) -> Tensor:
        """The semantic branch of a `panoptic` model: [B, channels, H, W] at its stride, things first."""
        assert self.semantic_branch is not None
        return self.semantic_branch([pyramid[name] for name in self.config.panoptic_in_features])

    def _detect(
        self,
        images: Sequence[Tensor],
        resize: bool,
        output_sizes: Sequence[tuple[int, int]],
        mask_format: str,
        panoptic: bool,
    ) -> list[dict[str, Any]]:
        if not images:
            return []
        config = self.config
        if resize:
            images = [
                resize_image(
                    image, network_size(image.shape[1], image.shape[2], config.min_size_test, config.max_size_test)
                )
                for image in images
            ]
        sizes = [
            ImageSizes(network=(image.shape[1], image.shape[2]), output=output)
            for image, output in zip(images, output_sizes, strict=True)
        ]
        batch = make_batch(images, config, self.pixel_mean, self.pixel_std)
        outputs, mask_features, pyramid = self.features(batch)
        found, _, mask_logits = self._find(outputs, mask_features, [size.network for size in sizes])
        make_result = with_rles if mask_format == "rle" else with_masks
        results = []
        for index, size in enumerate(sizes):
            own = torch.nonzero(found.image_indices == index).squeeze(1)
            results.append(make_result(found, own, mask_logits, size, config))
        if panoptic:
            with_panoptic(results, found, mask_logits, self.semantic_logits(pyramid), sizes, config)
        return results

    def _losses(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]], resize: bool) -> dict[str, Tensor]:
        batch, joined = self.training_batch(images, targets, resize=resize)
        return self.losses(batch, joined)[0]

    def training_batch(
        self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]], *, resize: bool = True
    ) -> tuple[Tensor, Targets]:
        """The normalised, padded batch [B, 3, H, W] and its objects in network pixels."""
        config = self.config
        if not images:
            raise ValueError("images: expected at least one image in training mode, got none")
        check_targets(targets, images, config)
        if resize:
            if any("rles" in target for target in targets):
                raise ValueError("targets: 'rles' are for resize=False; to be resized, masks must be pixels ('masks')")
            resized = []
            for image, target in zip(images, targets, strict=True):
                shortest = config.min_size_train[int(torch.randint(len(config.min_size_train), ()))]
                size = network_size(image.shape[1], image.shape[2], shortest, config.max_size_train)
                old = (image.shape[1], image.shape[2])
                resized.append((resize_image(image, size), resize_target(target, old, size)))
            images, targets = [image for image, _ in resized], [target for _, target in resized]
        batch = make_batch(images, config, self.pixel_mean, self.pixel_std)
        return batch, join_targets(targets, (batch.shape[2], batch.shape[3]), config, self.device)

    def losses(self, batch: Tensor, targets: Targets) -> tuple[dict[str, Tensor], MaskLocations]:
        """The losses of a batch made by `training_batch`, and the locations that fed `loss_mask`."""
        config = self.config
        outputs, mask_features, pyramid = self.features(batch)
        locations = make_locations(outputs.level_sizes, config, batch.device)
        losses, chosen = self.detection_loss(outputs, locations, targets)
        mask_loss = self._mask_loss(outputs, mask_features, locations, chosen, targets)
        losses["loss_mask"] = config.mask_loss_weight * mask_loss
        if config.semantic_loss:
            logits = self.mask_branch.semantic_logits(pyramid[config.mask_branch_in_features[0]])
            losses["loss_semantic"] = config.semantic_loss_weight * semantic_loss(logits, targets, config)
        if config.panoptic:
            loss = panoptic_loss(self.semantic_logits(pyramid), targets, config)
            losses["loss_panoptic"] = config.panoptic_loss_weight * loss
        return losses, chosen

    def _mask_loss(
        self,
        outputs: HeadOutputs,
        mask_features: Tensor,
        locations: Locations,
        chosen: MaskLocations,
        targets: Targets,
    ) -> Tensor:
        """Mean dice loss of the chosen locations (Eq. 5); 0 with a gradient of 0 when there are none."""
        loss = ops.dynamic_mask_loss(
            mask_features,
            at_locations(outputs.mask_head_params, chosen.image_indices, chosen.location_indices),
            locations.points[chosen.location_indices],
            chosen.image_indices,
            locations.sizes_of_interest[chosen.location_indices],
            targets.masks,
            chosen.object_indices,
            **self.mask_head_options(),
        )
        # the mean over all processes: DDP averages what each of them gives
        count = loss.new_full((), len(chosen.object_indices))
        mean = mean_over_processes(count)
        return loss * (count / torch.where(mean > 0, mean, 1))
