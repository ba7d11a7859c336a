"""How training images are changed at random, as a flat dataclass."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from condinst.fields import Above, AtLeast, Within, check_fields

_Pixels = Annotated[int, AtLeast(0)]
_Factor = Annotated[float, Above(0)]
_Probability = Annotated[float, Within(0, 1)]


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training images are changed at random; the defaults are AdelaiDet's."""

    crop_size: _Pixels = 0
    """Train on random crops with this side in network input pixels; a crop is smaller where the scaled image is. 0
    trains on whole images, resized as the model's config says."""

    crop_width: _Pixels = 0
    """Width of the crops, where they are not square; 0 for `crop_size`."""

    scale_range: tuple[_Factor, _Factor] = (1.0, 1.0)
    """Lowest and highest factor on the scale at which the model is tested, when training on crops. (0.1, 2.0) is
    large-scale jitter."""

    horizontal_flip: _Probability = 0.5
    """Probability of mirroring left and right."""

    vertical_flip: _Probability = 0.0
    """Probability of mirroring top and bottom."""

    transpose: _Probability = 0.0
    """Probability of swapping x and y. 0.5 for this and both mirrorings makes every mirroring and quarter turn equally
    likely, which suits images without an up and down."""

    colour_jitter: Annotated[float, AtLeast(0)] = 0.0
    """Largest relative change of brightness, contrast and saturation."""

    copy_paste: _Probability = 0.0
    """Probability of pasting objects of another image."""

    def __post_init__(self) -> None:
        check_fields(self)
        low, high = self.scale_range
        if low > high:
            raise ValueError(f"scale_range: expected the lower factor first, got {self.scale_range}")
        if self.crop_width and not self.crop_size:
            raise ValueError(f"crop_width: expected 0 without crop_size, got {self.crop_width}")
