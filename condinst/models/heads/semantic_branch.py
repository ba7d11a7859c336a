"""The semantic branch for panoptic segmentation (section 3.2, Fig. 4), from Panoptic-FPN (Kirillov et al., 2019)."""

import torch
from torch import Tensor, nn

from ..config import CondInstConfig
from .layers import BATCH_NORMS


class SemanticBranch(nn.Module):
    """Upsamples pyramid levels to the size of the finest level, and classifies every cell.

    A level that is n steps coarser than the finest runs through n blocks of 3x3 convolution, norm, ReLU and 2x bilinear
    upsampling; the finest level runs through a block without upsampling. The levels are concatenated as in Fig. 4
    (Panoptic-FPN adds them), and a 1x1 convolution follows.

    Cell i of the logits stands for pixel ``stride // 2 + i * stride``, as everywhere in CondInst. The upsampling
    preserves this, because for even strides the cells of coarser levels lie at half-pixel centres.
    """

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        channels, norm = config.panoptic_channels, config.panoptic_norm
        finest = int(config.panoptic_in_features[0][1:])
        self.levels = nn.ModuleList()
        for level in config.panoptic_in_features:
            steps = int(level[1:]) - finest
            blocks = nn.Sequential()
            for index in range(max(steps, 1)):
                blocks.append(_conv_block(channels if index else config.fpn_channels, channels, norm))
                if steps:
                    blocks.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
            self.levels.append(blocks)
        num_channels = config.num_thing_channels + config.num_stuff_classes
        self.logits = nn.Conv2d(channels * len(self.levels), num_channels, kernel_size=1)
        nn.init.kaiming_normal_(self.logits.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps levels [B, C, H_l, W_l], finest first, to [B, num_thing_channels + num_stuff_classes, H_0, W_0]."""
        levels = [level(feature) for level, feature in zip(self.levels, features, strict=True)]
        return self.logits(torch.cat(levels, dim=1))


def _conv_block(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    block = nn.Sequential(conv)
    if norm == "GN":
        block.append(nn.GroupNorm(32, out_channels))
    elif norm != "none":
        block.append(BATCH_NORMS[norm](out_channels))
    return block.append(nn.ReLU(inplace=True))
