"""The FCOS head (Tian et al., 2019) with CondInst's controller (section 3.1)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import CondInstConfig
from .layers import Tower


@dataclass
class HeadOutputs:
    """Predictions at every location of all levels, levels finest first and row-major within a level (L locations).

    Args:
        class_logits: [B, L, num_classes].
        box_distances: [B, L, 4] distances (l, t, r, b) to the box sides in strides, at least 0.
        centerness_logits: [B, L].
        mask_head_params: [B, L, P] filters of the dynamic mask heads: all weights, then all biases.
        level_sizes: (height, width) of each level.
    """

    class_logits: Tensor
    box_distances: Tensor
    centerness_logits: Tensor
    mask_head_params: Tensor
    level_sizes: list[tuple[int, int]]


class FCOSHead(nn.Module):
    """Class, box, centre-ness and mask head filters for each location; the weights are shared between levels."""

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        channels, num_levels = config.fpn_channels, len(config.head_in_features)

        def make_tower(num_convs: int, deformable: bool = False) -> Tower:
            return Tower(channels, num_convs, config.head_norm, num_levels, deformable=deformable)

        self.share_tower = make_tower(config.num_share_convs)
        self.cls_tower = make_tower(config.num_cls_convs, config.head_deformable)
        self.bbox_tower = make_tower(config.num_box_convs, config.head_deformable)
        self.cls_logits = nn.Conv2d(channels, config.num_classes, kernel_size=3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, 4, kernel_size=3, padding=1)
        self.ctrness = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        self.controller = nn.Conv2d(channels, config.num_mask_head_params, kernel_size=3, padding=1)
        self.scales = nn.ParameterList(torch.ones(1) for _ in range(num_levels if config.use_scale else 0))

        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("offset"):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        prior = config.prior_probability
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> HeadOutputs:
        """Maps pyramid levels [B, C, H_l, W_l], finest first, to predictions for all their locations."""
        classes, boxes, centers, params, sizes = [], [], [], [], []
        for level, feature in enumerate(features):
            shared = self.share_tower(feature, level)
            cls_feature = self.cls_tower(shared, level)
            box_feature = self.bbox_tower(shared, level)
            distances = self.bbox_pred(box_feature)
            if len(self.scales):
                distances = distances * self.scales[level]
            classes.append(_flatten(self.cls_logits(cls_feature)))
            boxes.append(_flatten(distances.relu()))
            centers.append(_flatten(self.ctrness(box_feature)))
            params.append(_flatten(self.controller(box_feature)))
            sizes.append((feature.shape[-2], feature.shape[-1]))
        return HeadOutputs(
            torch.cat(classes, 1), torch.cat(boxes, 1), torch.cat(centers, 1).squeeze(2), torch.cat(params, 1), sizes
        )


def _flatten(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, H*W, C]."""
    return x.flatten(2).transpose(1, 2)
