"""A CondInst small enough for tests, and images and targets for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from condinst import CondInst, CondInstConfig

TINY = CondInstConfig().replace(
    name="tiny",
    num_classes=3,
    class_names=("disc", "square", "bar"),
    min_size_test=64,
    max_size_test=128,
    min_size_train=(64,),
    max_size_train=128,
    backbone="resnet18",
    backbone_base_channels=8,
    backbone_norm="BN",
    freeze_at=0,
    fpn_channels=64,
    num_cls_convs=1,
    num_box_convs=1,
    mask_branch_channels=8,
    num_mask_branch_convs=1,
    score_threshold=0.0,
    max_detections=20,
)


def make_model(**overrides: Any) -> CondInst:
    """A model with fixed random weights whose detections have boxes of some size."""
    torch.manual_seed(0)
    model = CondInst(TINY.replace(**overrides))
    torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)  # type: ignore[arg-type]
    return model.eval()


def make_image(height: int, width: int, seed: int = 0) -> Tensor:
    """Random pixels [3, height, width] uint8."""
    return torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def make_target(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> dict[str, Tensor]:
    """Objects that fill their boxes (x1, y1, x2, y2); labels count up."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(len(boxes)) % 3,
        "masks": masks,
    }


def make_semantic(height: int, width: int, num_things: int, num_stuff: int) -> Tensor:
    """Panoptic labels int16 [height, width]: columns of all classes in turn, and void on the left."""
    labels = torch.arange(width) // 4 % (num_things + num_stuff)
    labels[:4] = -1
    return labels.to(torch.int16).expand(height, width).contiguous()


def tiny_panoptic_config(**overrides: Any) -> CondInstConfig:
    """TINY with three stuff classes and a semantic branch on P2 to P5."""
    fields: dict[str, Any] = {
        "name": "tiny_panoptic",
        "panoptic": True,
        "num_stuff_classes": 3,
        "stuff_names": ("sky", "sea", "sand"),
        "fpn_in_features": ("res2", "res3", "res4", "res5"),
        "panoptic_channels": 64,
        "stuff_area_limit": 16,
    }
    return TINY.replace(**fields | overrides)
