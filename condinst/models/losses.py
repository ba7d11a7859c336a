"""The training losses (section 3.3, numerics 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ops
from ..distributed import mean_over_processes, share_of_total, world_size
from .config import CondInstConfig
from .heads import HeadOutputs
from .network import NetworkOutputs, mask_head_shape
from .preprocessing import Targets


@dataclass
class MaskLocations:
    """The M positive locations that feed the mask loss.

    Args:
        image_indices: [M].
        location_indices: [M] into the L locations of all levels.
        object_indices: [M] into the objects of the batch.
    """

    image_indices: Tensor
    location_indices: Tensor
    object_indices: Tensor


class DetectionLoss(nn.Module):
    """Losses of the FCOS head, and the locations that feed the mask loss.

    Args:
        config: its fields for the losses are described in numerics 2.2 and 2.3.
    """

    moving_num_positives: Tensor

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("moving_num_positives", None, persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Starts the moving average of positives anew; AdelaiDet starts it at 100 and does not save it.

        It is that of the positives of all processes together, and not of each as in AdelaiDet, so that its start has
        one meaning for any number of processes.
        """
        self.moving_num_positives = torch.tensor(100.0)

    def forward(self, outputs: HeadOutputs, targets: Targets) -> tuple[dict[str, Tensor], MaskLocations]:
        """`loss_cls`, `loss_box` and `loss_centerness`, and the locations for the mask loss."""
        config = self.config
        assigned = ops.fcos_targets(
            targets.boxes,
            targets.labels,
            targets.centers if config.center_sampling == "mass" else None,
            targets.image_indices,
            num_images=outputs.class_logits.shape[0],
            num_classes=config.num_classes,
            level_sizes=outputs.level_sizes,
            strides=config.strides,
            sizes_of_interest=config.sizes_of_interest,
            radius=config.center_sampling_radius,
        )
        positive = assigned.object_indices >= 0
        image, location = torch.nonzero(positive, as_tuple=True)
        num_positives = share_of_total(positive.sum().float(), 1.0)

        loss_cls = ops.sigmoid_focal_loss(
            outputs.class_logits.flatten(0, 1),
            assigned.labels.flatten(),
            alpha=config.focal_loss_alpha,
            gamma=config.focal_loss_gamma,
        )
        predicted = at_locations(outputs.box_distances, image, location)
        distances = assigned.distances[image, location]
        centerness_logits = at_locations(outputs.centerness_logits, image, location)
        if config.box_quality == "centerness":
            quality = assigned.centerness[image, location]
            normalizer = share_of_total(quality.sum(), 1e-6)
            loss_box = ops.giou_loss(predicted, distances, quality) / normalizer
        else:
            quality = _smoothed_iou(predicted.detach().float(), distances)
            loss_box = ops.giou_loss(predicted, distances) / num_positives
        loss_centerness = ops.centerness_loss(centerness_logits, quality)
        losses = {
            "loss_cls": loss_cls / self._cls_normalizer(num_positives, positive.numel()),
            "loss_box": loss_box,
            "loss_centerness": loss_centerness / num_positives,
        }
        return losses, self._mask_locations(outputs, assigned.object_indices, num_objects=len(targets.labels))

    def _cls_normalizer(self, num_positives: Tensor, num_locations: int) -> Tensor:
        if self.config.cls_loss_normalizer == "all":
            return mean_over_processes(num_positives.new_tensor(num_locations))
        if self.config.cls_loss_normalizer == "moving_fg":
            self.moving_num_positives.mul_(0.9).add_(0.1 * num_positives * world_size())
            return self.moving_num_positives / world_size()
        return num_positives

    def _mask_locations(self, outputs: HeadOutputs, objects: Tensor, num_objects: int) -> MaskLocations:
        config = self.config
        selected = ops.select_top_locations(
            outputs.class_logits,
            outputs.centerness_logits,
            objects,
            num_objects=num_objects,
            rule=config.mask_loss_locations,
            max_locations=(
                config.mask_loss_top_per_image
                if config.mask_loss_locations == "top"
                else config.mask_loss_max_locations
            ),
        )
        image, location = torch.nonzero(selected, as_tuple=True)
        return MaskLocations(image, location, objects[image, location])


def _smoothed_iou(predicted: Tensor, targets: Tensor) -> Tensor:
    """AdelaiDet's IoU [M], (I + 1) / (U + 1), of boxes [M, 4] as distances (l, t, r, b) from common points."""
    intersection = _area(torch.minimum(predicted, targets))
    return (intersection + 1) / (_area(predicted) + _area(targets) - intersection + 1)


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(1)
    return (left + right) * (top + bottom)


def at_locations(values: Tensor, image_indices: Tensor, location_indices: Tensor) -> Tensor:
    """Rows of `values` [B, L, ...] at M (image, location) pairs: [M, ...].

    The same as ``values[image_indices, location_indices]``, whose gradient on the CPU differs from run to run.
    """
    return values.flatten(0, 1).index_select(0, image_indices * values.shape[1] + location_indices)


def mask_loss(outputs: NetworkOutputs, chosen: MaskLocations, targets: Targets, config: CondInstConfig) -> Tensor:
    """Mean dice loss of the chosen locations (Eq. 5); without locations 0, with a gradient of 0."""
    loss = ops.dynamic_mask_loss(
        outputs.mask_features,
        at_locations(outputs.head.mask_head_params, chosen.image_indices, chosen.location_indices),
        outputs.locations.points[chosen.location_indices],
        chosen.image_indices,
        outputs.locations.sizes_of_interest[chosen.location_indices],
        targets.masks,
        chosen.object_indices,
        **mask_head_shape(config).as_keywords(),
    )
    # the mean over all processes, because DDP averages the gradients of the processes
    count = loss.new_full((), len(chosen.object_indices))
    mean = mean_over_processes(count)
    return loss * (count / torch.where(mean > 0, mean, 1))


def semantic_loss(logits: Tensor, targets: Targets, config: CondInstConfig) -> Tensor:
    """Focal loss of the semantic branch (numerics 2.6): each pixel has the class of the smallest mask that covers it.

    Args:
        logits: [B, num_classes, H, W] at the stride of the mask features.
        targets: objects with masks at that stride.
        config: defines the focal loss.

    Returns:
        [] the sum of the losses, divided by the number of foreground pixels (its mean over the processes).
    """
    num_images, num_classes, height, width = logits.shape
    labels = targets.labels.new_full((num_images, height, width), num_classes)
    assert targets.semantic_masks is not None and targets.areas is not None
    # Masks are drawn from the largest to the smallest, so that the smallest mask wins; of equal areas the first object.
    images = targets.image_indices.tolist()
    for index in reversed(targets.areas.argsort(stable=True).tolist()):
        labels[images[index]].masked_fill_(targets.semantic_masks[index], targets.labels[index])
    num_positives = share_of_total((labels < num_classes).sum().float(), 1)
    loss = ops.sigmoid_focal_loss(
        logits.permute(0, 2, 3, 1).reshape(-1, num_classes),
        labels.flatten(),
        alpha=config.focal_loss_alpha,
        gamma=config.focal_loss_gamma,
    )
    return loss / num_positives


def panoptic_loss(logits: Tensor, targets: Targets, config: CondInstConfig) -> Tensor:
    """Cross-entropy of the semantic branch for panoptic segmentation (L_pano of Eq. 2).

    Args:
        logits: [B, num_thing_channels + num_stuff_classes, H, W].
        targets: with `semantic_labels` [B, H, W].
        config: says whether things are a single class.

    Returns:
        [] the sum of the losses, divided by the number of cells with a label (its mean over the processes); 0 without
        labels.
    """
    labels = targets.semantic_labels
    assert labels is not None
    if not config.separate_thing_channels:
        labels = (labels - config.num_classes + 1).clamp(min=0).where(labels >= 0, -1)
    num_cells = share_of_total((labels >= 0).sum().float(), 1)
    return F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum") / num_cells
