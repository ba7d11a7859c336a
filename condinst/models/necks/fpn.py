"""The feature pyramid network P2/P3-P7 (Lin et al., 2017; RetinaNet's P6 and P7 on top)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F


class FPN(nn.Module):
    """The pyramid of AdelaiDet: 1x1 lateral and 3x3 output convolutions with bias, no norm, nearest upsampling, sum.

    Maps an ordered dict of stages, finest first, to an ordered dict of levels under the same names, and the top levels
    as "p6" and "p7". The keys of its state are those of torchvision's `FeaturePyramidNetwork`.

    Args:
        in_channels: channels of the backbone stages, finest first.
        out_channels: channels of every level.
        top_levels: 2 adds P6 = conv(P5) and P7 = conv(ReLU(P6)), both 3x3 with stride 2; 0 adds none.
    """

    def __init__(self, in_channels: list[int], out_channels: int, top_levels: int) -> None:
        super().__init__()
        extra_blocks = TopLevels(out_channels) if top_levels else None
        self.inner_blocks = nn.ModuleList()
        self.layer_blocks = nn.ModuleList()
        for channels in in_channels:
            self.inner_blocks.append(nn.Sequential(nn.Conv2d(channels, out_channels, kernel_size=1)))
            self.layer_blocks.append(nn.Sequential(nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)))
        _initialise(self)
        self.extra_blocks = extra_blocks

    def forward(self, stages: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Stages [B, C_l, H_l, W_l] to levels [B, out_channels, H_l, W_l]."""
        laterals = [block(stage) for block, stage in zip(self.inner_blocks, stages.values(), strict=True)]
        merged = laterals[-1:]
        for lateral in reversed(laterals[:-1]):
            merged.insert(0, lateral + F.interpolate(merged[0], size=lateral.shape[-2:], mode="nearest"))
        levels = [block(x) for block, x in zip(self.layer_blocks, merged, strict=True)]
        pyramid = OrderedDict(zip(stages, levels, strict=True))
        if self.extra_blocks is not None:
            pyramid["p6"], pyramid["p7"] = self.extra_blocks(levels[-1])
        return pyramid


class TopLevels(nn.Module):
    """P6 and P7 from P5, also correct for maps of a single cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
        _initialise(self)

    def forward(self, p5: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] to maps of a half and a quarter of that size, rounded up."""
        p6 = _convolve(self.p6, p5)
        return p6, _convolve(self.p7, p6.relu())


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A padded 3x3 convolution with stride 2.

    On a single cell only the centre of the kernel counts, and only the centre is used, because there the bfloat16
    weight gradient of PyTorch's CPU convolution reads uninitialised memory (observed in 2.14.1).
    """
    if x.shape[-2:] == (1, 1):
        return F.conv2d(x, conv.weight[:, :, 1:2, 1:2], conv.bias)
    return conv(x)
