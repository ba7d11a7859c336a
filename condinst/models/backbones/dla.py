"""DLA-34 (Yu et al., 2018), with the key names of ucbdrive/dla."""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .blocks import BasicBlock
from .resnet import NORMS

UNUSED_KEYS = re.compile(r"level[34]\.project\.")
"""Projections in files of ucbdrive and AdelaiDet whose output is not used."""

_MakeNorm = Callable[[int], nn.Module]


class DLA(nn.Module):
    """The feature extractor: C2-C5 at strides 4, 8, 16 and 32, called level2 to level5 in the paper of DLA.

    Args:
        base_channels: a multiple of 4; 64 for the published network, whose first level has 16 channels.
        norm: "FrozenBN", "BN" or "SyncBN".
    """

    def __init__(self, *, base_channels: int = 64, norm: str = "SyncBN") -> None:
        super().__init__()
        make_norm = NORMS[norm]
        widths = [base_channels * 2**level // 4 for level in range(6)]
        self.base_layer = _conv_layer(3, widths[0], kernel_size=7, stride=1, make_norm=make_norm)
        self.level0 = _conv_layer(widths[0], widths[0], kernel_size=3, stride=1, make_norm=make_norm)
        self.level1 = _conv_layer(widths[0], widths[1], kernel_size=3, stride=2, make_norm=make_norm)
        self.level2 = Tree(widths[1], widths[2], make_norm, stride=2)
        self.level3 = TreeOfTrees(widths[2], widths[3], make_norm)
        self.level4 = TreeOfTrees(widths[3], widths[4], make_norm)
        self.level5 = Tree(widths[4], widths[5], make_norm, stride=2, joins_input=True)
        self.out_channels: dict[str, int] = {f"res{level}": widths[level] for level in range(2, 6)}

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised images [B, 3, H, W] to {"res2": [B, C2, H/4, W/4], .., "res5": [B, C5, H/32, W/32]}.

        H and W must be multiples of 32.
        """
        x = self.level1(self.level0(self.base_layer(x)))
        features = {}
        for level, layer in enumerate((self.level2, self.level3, self.level4, self.level5), start=2):
            x = layer(x)
            features[f"res{level}"] = x
        return features


class Tree(nn.Module):
    """Two residual blocks and a root, a 1x1 convolution that joins their outputs.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        make_norm: takes a number of channels and returns a norm.
        stride: stride of the first block, 1 or 2.
        joins_input: whether the root also takes the (pooled) input.
        extra_channels: channels of all further maps that the root takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        make_norm: _MakeNorm,
        *,
        stride: int = 1,
        joins_input: bool = False,
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        self.joins_input = joins_input
        self.downsample = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.project = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False), make_norm(out_channels)
            )
        self.tree1 = BasicBlock(in_channels, out_channels, stride, norm=make_norm)
        self.tree2 = BasicBlock(out_channels, out_channels, norm=make_norm)
        root_channels = 2 * out_channels + (in_channels if joins_input else 0) + extra_channels
        self.root = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(root_channels, out_channels, kernel_size=1, bias=False),
                bn=make_norm(out_channels),
                relu=nn.ReLU(inplace=True),
            )
        )

    def forward(self, x: Tensor, extra: Sequence[Tensor] = ()) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H / stride, W / stride], the size of all `extra` maps."""
        bottom = self.downsample(x)
        first = self.tree1(x, self.project(bottom))
        second = self.tree2(first, first)
        joined = [second, first, bottom] if self.joins_input else [second, first]
        return self.root(torch.cat([*joined, *extra], dim=1))


class TreeOfTrees(nn.Module):
    """Two trees, of stride 2 and 1; the root of the second also takes the pooled input and the output of the first.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        make_norm: takes a number of channels and returns a norm.
    """

    def __init__(self, in_channels: int, out_channels: int, make_norm: _MakeNorm) -> None:
        super().__init__()
        self.downsample = nn.MaxPool2d(2)
        self.tree1 = Tree(in_channels, out_channels, make_norm, stride=2)
        self.tree2 = Tree(out_channels, out_channels, make_norm, extra_channels=in_channels + out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H/2, W/2]."""
        first = self.tree1(x)
        return self.tree2(first, [self.downsample(x), first])


def _conv_layer(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int, make_norm: _MakeNorm
) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, make_norm(out_channels), nn.ReLU(inplace=True))
