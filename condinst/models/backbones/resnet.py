"""ResNet-18/34/50/101 (He et al., 2016), with torchvision's key names."""

from collections.abc import Callable

from torch import Tensor, nn

from ..layers import DeformableConv
from .blocks import BasicBlock, Bottleneck
from .frozen_norm import FrozenBatchNorm

STAGES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "FrozenBN": FrozenBatchNorm,
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
}


class ResNet(nn.Module):
    """The feature extractor: C2-C5 at strides 4, 8, 16 and 32.

    Args:
        name: "resnet18", "resnet34", "resnet50" or "resnet101".
        base_channels: width of the stem (64 in the published networks).
        norm: "FrozenBN", "BN" or "SyncBN".
        stride_in_1x1: whether a bottleneck that halves the resolution does so in its first 1x1 convolution (as Caffe
            weights expect) or in its 3x3 convolution (as torchvision weights expect). No effect on ResNet-18/34.
        freeze_at: stages without gradient and with frozen norms: 1 for the stem, 2 also for res2, up to 5.
        deformable: stages ("res4") and blocks ("res4.0") whose second convolution, a 3x3, is modulated deformable.

    Raises:
        ValueError: `deformable` names a block that does not exist.
    """

    def __init__(
        self,
        name: str,
        *,
        base_channels: int = 64,
        norm: str = "FrozenBN",
        stride_in_1x1: bool,
        freeze_at: int = 0,
        deformable: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        block, depths = STAGES[name]
        _check_deformable(name, deformable)
        norms = [NORMS["FrozenBN" if stage < freeze_at else norm] for stage in range(5)]
        self.conv1 = nn.Conv2d(3, base_channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norms[0](base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)

        self.out_channels: dict[str, int] = {}
        in_channels = base_channels
        for stage, depth in enumerate(depths):
            width = base_channels * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                built = _make_block(block, in_channels, width, stride, norms[stage + 1], stride_in_1x1)
                if f"res{stage + 2}" in deformable or f"res{stage + 2}.{index}" in deformable:
                    built.conv2 = DeformableConv(width, width, stride=built.conv2.stride[0], bias=False)
                blocks.append(built)
                in_channels = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.out_channels[f"res{stage + 2}"] = in_channels

        for key, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not key.endswith("offset"):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in (self.conv1, self.layer1, self.layer2, self.layer3, self.layer4)[:freeze_at]:
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised images [B, 3, H, W] to {"res2": [B, C2, H/4, W/4], .., "res5": [B, C5, H/32, W/32]}."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = {}
        for stage, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = layer(x)
            features[f"res{stage + 2}"] = x
        return features


def _make_block(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    width: int,
    stride: int,
    norm: Callable[[int], nn.Module],
    stride_in_1x1: bool,
) -> BasicBlock | Bottleneck:
    out_channels = width * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False), norm(out_channels)
        )
    built = block(in_channels, width, stride, downsample, norm=norm)
    if stride_in_1x1 and isinstance(built, Bottleneck):
        built.conv1.stride, built.conv2.stride = built.conv2.stride, built.conv1.stride
    return built


def _check_deformable(name: str, deformable: tuple[str, ...]) -> None:
    _, depths = STAGES[name]
    known = {f"res{stage + 2}.{index}" for stage, depth in enumerate(depths) for index in range(depth)}
    known |= {f"res{stage + 2}" for stage in range(4)}
    unknown = [entry for entry in deformable if entry not in known]
    if unknown:
        raise ValueError(
            f"backbone_deformable: expected stages (res4) and blocks (res4.0) of {name}, got {', '.join(unknown)}"
        )
