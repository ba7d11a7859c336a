"""Feature extractors."""

from ..config import CondInstConfig
from .dla import DLA
from .resnet import ResNet

__all__ = ["DLA", "ResNet", "make_backbone"]


def make_backbone(config: CondInstConfig) -> DLA | ResNet:
    """The feature extractor of a config. It maps images to {"res2", .., "res5"}, whose widths are in `out_channels`."""
    if config.backbone == "dla34":
        return DLA(base_channels=config.backbone_base_channels, norm=config.backbone_norm)
    return ResNet(
        config.backbone,
        base_channels=config.backbone_base_channels,
        norm=config.backbone_norm,
        stride_in_1x1=config.stride_in_1x1,
        freeze_at=config.freeze_at,
        deformable=config.backbone_deformable,
    )
