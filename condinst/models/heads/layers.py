"""Layers that the heads share: towers with norms per level, and the deformable convolution."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class NormPerLevel(nn.ModuleList):
    """One norm for each pyramid level: statistics differ between levels even where the convolutions are shared."""

    def __init__(self, make_norm: Callable[[int], nn.Module], num_levels: int, channels: int) -> None:
        super().__init__(make_norm(channels) for _ in range(num_levels))


class DeformableConv(nn.Module):
    """Modulated deformable 3x3 convolution (Zhu et al., 2019) with its own offset predictor.

    Args:
        in_channels: channels in.
        out_channels: channels out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # 9 pairs of (dy, dx), then 9 modulation logits
        self.offset = nn.Conv2d(in_channels, 27, kernel_size=3, padding=1)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        offsets, modulation = self.offset(x).split((18, 9), dim=1)
        return deform_conv2d(x, offsets, self.conv.weight, self.conv.bias, padding=1, mask=modulation.sigmoid())


class Tower(nn.ModuleList):
    """Blocks of 3x3 convolution with bias, norm and ReLU, run on one pyramid level at a time.

    Args:
        channels: channels in and out.
        num_convs: number of blocks; with 0 the tower is the identity.
        norm: "GN", "NaiveGN" (GroupNorm, too), "BN" or "SyncBN" (both with statistics per level) or "none".
        num_levels: number of pyramid levels.
        deformable: the last convolution is a modulated deformable one.
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
