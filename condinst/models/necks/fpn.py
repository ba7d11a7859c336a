"""The feature pyramid network P2/P3-P7 (Lin et al., 2017; RetinaNet's P6 and P7 on top)."""

from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7


def make_fpn(in_channels: list[int], out_channels: int, top_levels: int) -> FeaturePyramidNetwork:
    """The pyramid of AdelaiDet: 1x1 lateral and 3x3 output convolutions with bias, no norm, nearest upsampling, sum.

    Args:
        in_channels: channels of the backbone stages, finest first.
        out_channels: channels of every level.
        top_levels: 2 adds P6 = conv(P5) and P7 = conv(ReLU(P6)), both 3x3 with stride 2; 0 adds none.

    Returns:
        A module from an ordered dict of stages to an ordered dict of levels; the top ones are called "p6" and "p7".
    """
    # with equal channels torchvision's block takes P5, not C5
    top = LastLevelP6P7(out_channels, out_channels) if top_levels else None
    return FeaturePyramidNetwork(in_channels, out_channels, extra_blocks=top)
