"""The mask branch (section 3.1, Fig. 3) and the semantic branch of the "_sem" models."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from ... import ops
from ..config import CondInstConfig
from .layers import BATCH_NORMS


class MaskBranch(nn.Module):
    """Fuses pyramid levels into the mask features that all dynamic mask heads run on.

    x = refine0(P3) + up2(refine1(P4)) + up4(refine2(P5)), in this order, with aligned upsampling; a tower follows.
    Without `mask_head_features` there are no such layers, and the mask features have no channels.
    """

    def __init__(self, config: CondInstConfig) -> None:
        super().__init__()
        channels = config.mask_branch_channels
        self.refine = nn.ModuleList()
        self.tower = nn.Sequential()
        if config.mask_head_features:
            norm = config.mask_branch_norm
            for _ in config.mask_branch_in_features:
                self.refine.append(_conv_block(config.fpn_channels, channels, norm))
            for _ in range(config.num_mask_branch_convs):
                self.tower.append(_conv_block(channels, channels, norm))
            self.tower.append(nn.Conv2d(channels, config.mask_feature_channels, kernel_size=1))
        self.seg_head: nn.Sequential | None = None
        self.logits: nn.Conv2d | None = None
        if config.semantic_loss:
            self.seg_head = nn.Sequential(
                _conv_block(config.fpn_channels, channels, config.mask_branch_norm),
                _conv_block(channels, channels, config.mask_branch_norm),
            )
            self.logits = nn.Conv2d(channels, config.num_classes, kernel_size=1)
            prior = config.prior_probability
            nn.init.constant_(self.logits.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps levels [B, C, H_l, W_l], finest first, to mask features [B, mask_feature_channels or 0, H_0, W_0]."""
        if not self.refine:
            return features[0][:, :0]
        x = self.refine[0](features[0])
        for refine, feature in zip(self.refine[1:], features[1:], strict=True):
            refined = refine(feature)
            x = x + ops.aligned_bilinear(refined, x.shape[-1] // refined.shape[-1])
        return self.tower(x)

    def semantic_logits(self, feature: Tensor) -> Tensor:
        """Maps the finest level [B, C, H_0, W_0] to logits [B, num_classes, H_0, W_0]; only with `semantic_loss`."""
        if self.seg_head is None or self.logits is None:
            raise ValueError("semantic_logits: the config has semantic_loss = False")
        return self.logits(self.seg_head(feature))


def _conv_block(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if norm == "none":
        return nn.Sequential(conv, nn.ReLU(inplace=True))
    make_norm: Callable[[int], nn.Module] = BATCH_NORMS[norm]
    return nn.Sequential(conv, make_norm(out_channels), nn.ReLU(inplace=True))
