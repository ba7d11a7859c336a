"""Torchvision's Mask R-CNN with the backbone of a CondInst, and its training: what ``train_mask_rcnn.py`` runs."""

from __future__ import annotations

import csv
import math
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from condinst.data.coco import CocoInstances
from condinst.data.transforms import TrainingTransform
from condinst.engine.config import TrainingConfig
from condinst.engine.loader import Sample, SampleStream, batch_keys
from condinst.engine.optimization import make_average, make_optimizer
from condinst.models.backbones import ResNet
from condinst.models.config import CondInstConfig
from condinst.models.necks import FPN

ANCHOR_SIDES = (16, 32, 64, 128)
"""Of P2 .. P5, in px. At the scale of testing half of the nuclei are below 32 px, and 9 of 10 between 10 and 80."""

BOX_FEATURES = 128
BOX_SAMPLES = 128
LOG_EVERY = 20
CPU = torch.device("cpu")


class Backbone(nn.Module):
    """ResNet and FPN of a CondInst, with the names of the levels that torchvision's heads expect.

    Args:
        config: of the CondInst.
    """

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        self.stages = config.fpn_in_features
        self.out_channels = config.fpn_channels
        self.body = ResNet(
            config.backbone,
            base_channels=config.backbone_base_channels,
            norm=config.backbone_norm,
            stride_in_1x1=config.stride_in_1x1,
            freeze_at=config.freeze_at,
        )
        self.fpn = FPN([self.body.out_channels[stage] for stage in self.stages], config.fpn_channels, 0)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] to {"0": [B, C, H/4, W/4], .., "3": [B, C, H/32, W/32]}."""
        maps = self.body(images)
        return self.fpn(OrderedDict((str(index), maps[stage]) for index, stage in enumerate(self.stages)))


def make_mask_rcnn(config: CondInstConfig) -> MaskRCNN:
    """A Mask R-CNN with the backbone of a CondInst.

    Not torchvision's defaults, but for so small a network: 128 hidden features of the box head, 64 channels of the
    mask head, no level above P5, anchors of the size of nuclei. Of the proposals of a crop of 256 px 128 are trained on
    and not 512, of which up to a quarter are objects with masks: 32, as many masks as condinst_nano takes per image.

    Args:
        config: of the CondInst.
    """
    backbone = Backbone(config)
    channels, num_classes = config.fpn_channels, config.num_classes + 1
    return MaskRCNN(
        backbone,
        min_size=config.min_size_test,
        max_size=config.max_size_test,
        image_mean=[value / 255 for value in config.pixel_mean],
        image_std=[value / 255 for value in config.pixel_std],
        rpn_anchor_generator=AnchorGenerator(
            tuple((side,) for side in ANCHOR_SIDES), ((0.5, 1.0, 2.0),) * len(ANCHOR_SIDES)
        ),
        box_head=TwoMLPHead(channels * 7**2, BOX_FEATURES),
        box_predictor=FastRCNNPredictor(BOX_FEATURES, num_classes),
        box_batch_size_per_image=BOX_SAMPLES,
        box_detections_per_img=config.max_detections,
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
        _skip_resize=True,  # in training only, where crops come at their scale
    )


class ZeroBased(nn.Module):
    """A torchvision model as `evaluate_coco` takes it: uint8 images in, labels from 0 and bool masks out.

    Args:
        model: whose label 0 is the background.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """Detections of each image [3, H, W]."""
        found = self.model([image.float() / 255 for image in images])
        return [
            {**one, "labels": one["labels"] - 1, "masks": one["masks"][:, 0] > 0.5}  # [K, 1, H, W] to [K, H, W]
            for one in found
        ]


def mask_rcnn_target(sample: Sample) -> dict[str, Tensor]:
    """The objects of a sample as torchvision's models take them: labels from 1, masks as pixels."""
    assert sample.image is not None
    height, width = sample.image.shape[1:]
    rles = sample.target["rles"]
    masks = coco_mask.decode(rles) if rles else np.zeros((height, width, 0), np.uint8)  # [H, W, G]
    return {
        "boxes": sample.target["boxes"],
        "labels": sample.target["labels"] + 1,
        "masks": torch.from_numpy(masks).permute(2, 0, 1).contiguous(),
    }


def make_batches(data: CocoInstances, config: CondInstConfig, training: TrainingConfig) -> DataLoader[Sample]:
    """Batches without end, those that condinst_nano is trained on."""
    transform = TrainingTransform(
        training,
        min_size_test=config.min_size_test,
        max_size_test=config.max_size_test,
        min_size_train=config.min_size_train,
        max_size_train=config.max_size_train,
    )
    return DataLoader(
        SampleStream(data, transform, training.seed),
        batch_sampler=batch_keys([0] * len(data), training.batch_size, training.seed),
        num_workers=training.num_workers,
        collate_fn=list,
    )


def learning_rate(training: TrainingConfig, step: int, done: float) -> float:
    """The rate of a step (from 0) when a share `done` of the time has gone by: warm-up by steps, cosine by time."""
    warm = min(1.0, 0.001 + 0.999 * step / max(training.warmup_steps, 1))
    return training.scaled_learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: MaskRCNN, data: CocoInstances, config: CondInstConfig, training: TrainingConfig, minutes: float, log: Path
) -> tuple[nn.Module, int, int]:
    """Train for some time.

    Args:
        model: changed in place.
        data: to train on.
        config: of the CondInst beside it.
        training: how.
        minutes: of wall time; the step that is running then is the last.
        log: a CSV file, with means of 20 steps.

    Returns:
        The moving average of the model, the number of steps, and that of images.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    optimizer = make_optimizer(
        model,
        training.optimizer,
        learning_rate=training.scaled_learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    average = make_average(model.train(), training.ema_decay)
    step = num_images = 0
    sums: dict[str, float] = {}
    with log.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        start = time.monotonic()
        for samples in make_batches(data, config, training):
            done = (time.monotonic() - start) / (60 * minutes)
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, step, done)
            images = [sample.image.float() / 255 for sample in samples if sample.image is not None]
            targets = [mask_rcnn_target(sample) for sample in samples if sample.image is not None]
            with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bf16-mixed"):
                losses: dict[str, Tensor] = model(images, targets)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            if not torch.isfinite(total):
                raise FloatingPointError(f"step {step}: a loss is not finite: {losses}")
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.clip_gradient_norm)
            optimizer.step()
            average.update_parameters(model)
            step, num_images = step + 1, num_images + len(images)
            sums = {name: sums.get(name, 0.0) + loss.item() for name, loss in losses.items()}
            if step == 1:
                writer.writerow(["step", "seconds", "lr", *losses])
            if step % LOG_EVERY == 0:
                seconds = time.monotonic() - start
                means = {name: value / LOG_EVERY for name, value in sums.items()}
                rate = optimizer.param_groups[0]["lr"]
                writer.writerow([step, f"{seconds:.1f}", f"{rate:.6g}", *(f"{mean:.5f}" for mean in means.values())])
                file.flush()
                figures = ", ".join(f"{name.removeprefix('loss_')} {mean:.3f}" for name, mean in means.items())
                print(f"step {step}, {seconds:.0f} s: {figures}", flush=True)
                sums = {}
    return average.module, step, num_images
