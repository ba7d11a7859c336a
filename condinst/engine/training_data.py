"""What must hold for data before a model can be trained on it."""

from __future__ import annotations

from condinst.data.annotated import AnnotatedImages
from condinst.data.panoptic import CocoPanoptic
from condinst.models.config import CondInstConfig


def check_training_data(data: AnnotatedImages, config: CondInstConfig) -> None:
    """Checks that a model can be trained on annotated images.

    Raises:
        ValueError: the data is not of the kind that the model needs, its classes are not those of the model, or it has
            no images or no annotations.
    """
    if config.panoptic and not isinstance(data, CocoPanoptic):
        raise ValueError(
            f"{data.annotations}: expected panoptic annotations for {config.name}, a panoptic model, got instances"
        )
    for name in ("num_classes", "num_stuff_classes") if config.panoptic else ("num_classes",):
        expected, actual = getattr(data.classes, name), getattr(config, name)
        if actual != expected:
            raise ValueError(f"{name}: expected {expected}, the categories of {data.annotations}, got {actual}")
    if not len(data):
        raise ValueError(f"{data.annotations}: expected at least one image to train on, got none")
    if not data.num_annotations:
        raise ValueError(f"{data.annotations}: expected at least one annotation to train on, got none")
