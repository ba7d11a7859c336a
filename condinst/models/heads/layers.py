"""Layers that the heads share: towers with norms per level."""

from collections.abc import Callable

from torch import Tensor, nn

from ..layers import DeformableConv


class NormPerLevel(nn.ModuleList):
    """A norm for each pyramid level: statistics differ between levels, although the convolutions are shared."""

    def __init__(self, make_norm: Callable[[int], nn.Module], num_levels: int, channels: int) -> None:
        super().__init__(make_norm(channels) for _ in range(num_levels))


class Tower(nn.ModuleList):
    """Blocks of 3x3 convolution with bias, norm and ReLU, run on one pyramid level at a time.

    Args:
        channels: channels in and out.
        num_convs: number of blocks; with 0 the tower is the identity.
        norm: "GN", "NaiveGN" (also GroupNorm), "BN" or "SyncBN" (both with statistics per level) or "none".
        num_levels: number of pyramid levels.
        deformable: whether the last convolution is modulated deformable.
    """

    def __init__(self, channels: int, num_convs: int, norm: str, num_levels: int, *, deformable: bool = False) -> None:
        layers: list[nn.Module] = []
        for index in range(num_convs):
            if deformable and index == num_convs - 1:
                layers.append(DeformableConv(channels, channels))
            else:
                layers.append(nn.Conv2d(channels, channels, kernel_size=3, padding=1))
            if norm in ("GN", "NaiveGN"):
                layers.append(nn.GroupNorm(32, channels))
            elif norm != "none":
                layers.append(NormPerLevel(BATCH_NORMS[norm], num_levels, channels))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(layers)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, channels, H, W] to the same shape; `level` chooses the norm statistics."""
        for layer in self:
            x = layer[level](x) if isinstance(layer, NormPerLevel) else layer(x)
        return x


BATCH_NORMS: dict[str, Callable[[int], nn.Module]] = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
