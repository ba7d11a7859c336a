"""The feature pyramid network P2/P3-P7 (Lin et al., 2017; RetinaNet's P6 and P7 on top)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7


def make_fpn(in_channels: list[int], out_channels: int, top_levels: int) -> FeaturePyramidNetwork:
    """The pyramid of AdelaiDet: 1x1 lateral and 3x3 output convolutions with bias, no norm, nearest upsampling, sum.

    Args:
        in_channels: channels of the backbone stages, finest first.
        out_channels: channels of every level.
        top_levels: 2 adds P6 = conv(P5) and P7 = conv(ReLU(P6)), both 3x3 with stride 2; 0 adds none.

    Returns:
        A module that maps an ordered dict of stages to an ordered dict of levels; the top levels are "p6" and "p7".
    """
    top = TopLevels(out_channels, out_channels) if top_levels else None
    return FeaturePyramidNetwork(in_channels, out_channels, extra_blocks=top)


class TopLevels(LastLevelP6P7):
    """P6 and P7 from P5, also correct for maps of a single cell."""

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Appends the two levels to the pyramid `p` and their names to `names`; `c` is not used."""
        p6 = _convolve(self.p6, p[-1])
        p7 = _convolve(self.p7, p6.relu())
        return [*p, p6, p7], [*names, "p6", "p7"]


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A padded 3x3 convolution with stride 2.

    On a single cell only the centre of the kernel counts, and only the centre is used, because there the bfloat16
    weight gradient of PyTorch's CPU convolution reads uninitialised memory (observed in 2.14.1).
    """
    if x.shape[-2:] == (1, 1):
        return F.conv2d(x, conv.weight[:, :, 1:2, 1:2], conv.bias)
    return conv(x)
