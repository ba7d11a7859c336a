"""What must hold for data before a model can be trained on it."""

from __future__ import annotations

import warnings

from condinst.data.annotated import AnnotatedImages
from condinst.data.panoptic import CocoPanoptic
from condinst.data.usable import refusal, survey
from condinst.distributed import launched_rank
from condinst.models.config import CondInstConfig


def check_training_data(data: AnnotatedImages, config: CondInstConfig) -> None:
    """Checks that a model can be trained on annotated images.

    Raises:
        ValueError: the data is not of the kind that the model needs, its classes are not those of the model, or it has
            no object that can be used, see `refusal`.

    Warns:
        UserWarning: of objects that are left out, or read in another way than they are written, with counts.
    """
    if config.panoptic and not isinstance(data, CocoPanoptic):
        raise ValueError(
            f"{data.annotations}: expected panoptic annotations for {config.name}, a panoptic model, got instances"
        )
    for name in ("num_classes", "num_stuff_classes") if config.panoptic else ("num_classes",):
        expected, actual = getattr(data.classes, name), getattr(config, name)
        if actual != expected:
            raise ValueError(f"{name}: expected {expected}, the categories of {data.annotations}, got {actual}")
    surveyed = survey(data)
    problem = refusal(data, surveyed)
    if problem is not None:
        raise ValueError(problem)
    if str(surveyed) and launched_rank() == 0:
        warnings.warn(str(surveyed), stacklevel=3)
