"""Feature pyramids."""

from ..config import CondInstConfig
from .bifpn import BiFPN
from .fpn import FPN

__all__ = ["FPN", "BiFPN", "make_neck"]


def make_neck(config: CondInstConfig, in_channels: list[int]) -> BiFPN | FPN:
    """The pyramid of a config. It maps an ordered dict of stages to a dict of `fpn_levels`, finest first.

    Args:
        config: the kind of pyramid, and its width and depth.
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
    fpn = FPN(in_channels, config.fpn_channels, config.fpn_top_levels)
    _freeze_unused(fpn, config)
    return fpn


def _freeze_unused(fpn: FPN, config: CondInstConfig) -> None:
    """Disables the gradient of levels that no layer reads: several processes would wait for it forever."""
    used = {*config.head_in_features, *config.mask_branch_in_features}
    used |= {*config.panoptic_in_features} if config.panoptic else set()
    is_read = False  # a lateral convolution feeds its level and all finer levels
    levels = zip(config.fpn_levels, fpn.inner_blocks, fpn.layer_blocks, strict=False)
    for level, lateral, output in levels:
        is_read |= level in used
        lateral.requires_grad_(is_read)
        output.requires_grad_(level in used)
