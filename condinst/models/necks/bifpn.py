"""The bidirectional feature pyramid (Tan et al., 2020) as AdelaiDet builds it (numerics 1.14)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.resnet import NORMS


class BiFPN(nn.Module):
    """Repeated fusion of all pyramid levels, top-down and then bottom-up, with learned weights.

    Args:
        in_channels: channels of the backbone stages, finest first.
        out_channels: channels of every level.
        top_levels: 2 adds P6, max pooled from a 1x1 convolution of C5, and P7, max pooled from P6; 0 adds no level.
        num_repeats: how often all levels are fused.
        norm: "FrozenBN", "BN" or "SyncBN", after each convolution.
    """

    def __init__(
        self, in_channels: list[int], out_channels: int, top_levels: int, *, num_repeats: int, norm: str
    ) -> None:
        super().__init__()
        self.top_levels = top_levels
        self.reduction: nn.Module = nn.Identity()
        if top_levels and in_channels[-1] != out_channels:
            self.reduction = _conv_norm(in_channels[-1], out_channels, 1, norm, bias=False)
        first = [*in_channels, *[out_channels] * top_levels]
        later = [out_channels] * len(first)
        self.repeats = nn.ModuleList(
            BiFPNRepeat(first if index == 0 else later, out_channels, norm) for index in range(num_repeats)
        )

    def forward(self, stages: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pyramid levels from backbone stages.

        Args:
            stages: name of each level to its stage [B, C_l, H_l, W_l], finest first.

        Returns:
            The same names, and those of the top levels, "p6" and "p7", to [B, out_channels, H_l, W_l].
        """
        names, levels = list(stages), list(stages.values())
        if self.top_levels:
            top = self.reduction(levels[-1])
            for index in range(self.top_levels):
                top = _halve(top)
                names.append(f"p{6 + index}")
                levels.append(top)
        for repeat in self.repeats:
            levels = repeat(levels)
        return dict(zip(names, levels, strict=True))


class BiFPNRepeat(nn.Module):
    """One fusion of all levels.

    Args:
        in_channels: channels of the levels, finest first; levels without `out_channels` channels get a 1x1 convolution.
        out_channels: channels of all results.
        norm: "FrozenBN", "BN" or "SyncBN".
    """

    def __init__(self, in_channels: list[int], out_channels: int, norm: str) -> None:
        super().__init__()
        self.nodes = bifpn_nodes(len(in_channels))
        self.laterals = nn.ModuleList(
            nn.Identity() if channels == out_channels else _conv_norm(channels, out_channels, 1, norm, bias=True)
            for channels in in_channels
        )
        self.weights = nn.ParameterDict(
            {node_name(level, inputs): torch.ones(len(inputs)) for level, inputs in self.nodes}
        )
        self.outputs = nn.ModuleDict(
            {
                node_name(level, inputs): _conv_norm(out_channels, out_channels, 3, norm, bias=False)
                for level, inputs in self.nodes
            }
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels [B, C_l, H_l, W_l], finest first, to [B, out_channels, H_l, W_l]."""
        features = levels.copy()
        results = levels.copy()
        for level, inputs in self.nodes:
            name = node_name(level, inputs)
            height, width = levels[level].shape[-2:]
            maps = []
            for index in inputs:
                # A level that two nodes take runs through its lateral convolution twice, as in AdelaiDet. So in
                # training the running statistics of its norm are updated twice.
                x = self.laterals[index](features[index]) if index < len(levels) else features[index]
                maps.append(_resize(x, height, width))
            fused = _weighted_sum(self.weights[name], maps)
            # swish; F.silu rounds differently
            results[level] = self.outputs[name](fused * fused.sigmoid())
            features.append(results[level])
        return results


def bifpn_nodes(num_levels: int) -> list[tuple[int, list[int]]]:
    """The nodes of one repeat in the order of their computation: the level of each node, and its inputs.

    Args:
        num_levels: number of levels, at least 2.

    Returns:
        (level, inputs): level 0 is the finest; inputs below `num_levels` are the input levels, and `num_levels` + i is
        node i.
    """
    top = num_levels - 1
    nodes: list[tuple[int, list[int]]] = []
    newest = top
    for level in range(top - 1, -1, -1):
        nodes.append((level, [level, newest]))
        newest = num_levels + len(nodes) - 1
    for level in range(1, top):
        # on the top-down pass, the node of this level was number top - 1 - level
        nodes.append((level, [level, num_levels + top - 1 - level, newest]))
        newest = num_levels + len(nodes) - 1
    return [*nodes, (top, [top, newest])]


def node_name(level: int, inputs: list[int]) -> str:
    """The name of a node in state dicts, such as "f1_1_7_8"."""
    return f"f{level}_{'_'.join(map(str, inputs))}"


def _weighted_sum(weights: Tensor, maps: list[Tensor]) -> Tensor:
    """Maps of one shape, weighted by the positive parts of `weights` [K] over their sum.

    The two forms give the same bits. With a gradient, the maps are stacked as in AdelaiDet, so that gradients have the
    same bits, too: terms cancel, and another order of summation changed gradient norms by 1e-4 (relative). Without a
    gradient, a running sum is faster.
    """
    positive = weights.relu()
    shares = positive / (positive.sum() + 1e-4)
    if shares.requires_grad:
        return (torch.stack(maps, dim=-1) * shares.to(maps[0].dtype)).sum(dim=-1)
    total = shares[0] * maps[0]
    for share, x in zip(shares[1:], maps[1:], strict=True):
        total = total + share * x
    return total


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resizes to the size of a neighbouring level: max pooling from a finer level, nearest cells from a coarser one."""
    if x.shape[-2] > height or x.shape[-1] > width:
        return _halve(x)
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, size=(height, width), mode="nearest")


def _halve(x: Tensor) -> Tensor:
    """Maps [B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)]."""
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, norm: str, *, bias: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
    return nn.Sequential(conv, NORMS[norm](out_channels))
