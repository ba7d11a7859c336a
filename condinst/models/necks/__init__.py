"""Feature pyramids."""

from torchvision.ops import FeaturePyramidNetwork

from ..config import CondInstConfig
from .bifpn import BiFPN
from .fpn import make_fpn

__all__ = ["BiFPN", "make_fpn", "make_neck"]


def make_neck(config: CondInstConfig, in_channels: list[int]) -> BiFPN | FeaturePyramidNetwork:
    """The pyramid of a config: an ordered dict of stages to a dict of `fpn_levels`, finest first.

    Args:
        config: which of the two, and its width and depth.
        in_channels: channels of the backbone stages `fpn_in_features`.
    """
    if config.neck == "bifpn":
        return BiFPN(
            in_channels,
            config.fpn_channels,
            config.fpn_top_levels,
            num_repeats=config.bifpn_repeats,
            norm=config.neck_norm,
        )
    return make_fpn(in_channels, config.fpn_channels, config.fpn_top_levels)
