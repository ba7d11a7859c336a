"""Random changes of images, for tests."""

from __future__ import annotations

from typing import Any

from condinst import CondInstConfig
from condinst.data.augmentation import AugmentationConfig
from condinst.data.transforms import TrainingTransform

_SIZES = ("min_size_test", "max_size_test", "min_size_train", "max_size_train")


def make_transform(**fields: Any) -> TrainingTransform:
    """A transform with some fields of `AugmentationConfig` and some sizes of `CondInstConfig`, by default as there."""
    sizes = {name: fields.pop(name, getattr(CondInstConfig(), name)) for name in _SIZES}
    return TrainingTransform(AugmentationConfig(**fields), **sizes)
