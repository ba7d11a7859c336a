"""How a training starts: which recipe, data, classes and weights a few arguments stand for."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from condinst.classes import Classes
from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.open import open_instances, open_panoptic
from condinst.data.panoptic import CocoPanoptic
from condinst.models.checkpoints import load_backbone, new_model
from condinst.models.checkpoints.checkpoint import Checkpoint
from condinst.models.checkpoints.model import fine_tune_model, load
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig
from condinst.models.config_files import config_names, load_config

from .config import load_training_config
from .training import Trainer

DEFAULT_CONFIG = "condinst_nano"
DEFAULT_RECIPE = "condinst_r50_1x"
"""The recipe for weights whose config is none of the built-in ones: AdelaiDet's first."""

_NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataPaths:
    """Where annotated images are.

    Args:
        data: a COCO JSON of instances or panoptic segments, or a folder laid out as COCO or Cityscapes.
        images: folder of the images, where it is another than that of the JSON file.
        segments: folder of panoptic PNGs, where it is another than the one with the name of the JSON file.
    """

    data: Path
    images: Path | None = None
    segments: Path | None = None

    def open(self, split: str, *, panoptic: bool) -> CocoInstances | CocoPanoptic:
        """Opens panoptic data for a panoptic model, and where there is a folder of segments.

        Args:
            split: which part of a folder, "train" or "val".
            panoptic: whether the model is a panoptic one. Any other model learns the things of panoptic data.
        """
        if panoptic or self.segments is not None:
            return open_panoptic(self.data, self.images, self.segments, split)
        return open_instances(self.data, self.images, split)


def make_trainer(
    data: DataPaths,
    out_dir: str | Path,
    *,
    config: str | Path | None = None,
    weights: str | Path | None = None,
    backbone: str | Path | None = None,
    validation: DataPaths | None = None,
    training_overrides: Mapping[str, Any] = _NO_OVERRIDES,
    model_overrides: Mapping[str, Any] = _NO_OVERRIDES,
    device: torch.device | str = "cpu",
    resume: bool = False,
    progress: bool = True,
) -> Trainer:
    """A trainer for a model whose classes are those of the data.

    Args:
        data: the training images.
        out_dir: folder for the results, see `Trainer`.
        config: name of a built-in config, or a TOML file. It describes the model and, in its table [training], how the
            model is trained. By default that of `weights`, or condinst_nano.
        weights: start from these weights of a whole model, see `fine_tune`.
        backbone: ImageNet weights of the backbone, see `load_backbone`.
        validation: images to validate on.
        training_overrides: fields of `TrainingConfig`.
        model_overrides: fields of `CondInstConfig`.
        device, resume, progress: see `Trainer`.

    Raises:
        ValueError: both `weights` and `backbone`; an unknown name, field or value; weights that do not fit; data
            without things, or data that `Trainer` refuses.
        OSError: as `Trainer`; or the download of torchvision's weights fails.
    """
    if weights is not None and backbone is not None:
        raise ValueError("weights: expected weights or a backbone, got both")
    checkpoint = None if weights is None else Checkpoint.find(weights)
    base = _base_config(config, weights, checkpoint)
    recipe = config or (DEFAULT_CONFIG if weights is None else _recipe_for(base.name))
    training = load_training_config(recipe, overrides=training_overrides)
    panoptic = base.replace(**model_overrides).panoptic
    dataset = data.open("train", panoptic=panoptic)
    validation_set = None if validation is None else validation.open("val", panoptic=panoptic)
    model_config = base.replace(**{**model_overrides, "classes": _classes(dataset, panoptic=panoptic)})
    torch.manual_seed(training.seed)
    if weights is not None:
        model = fine_tune_model(load(checkpoint or weights), model_config, str(weights))
    else:
        model = _new_model(model_config, backbone)
        if backbone is None and model_config.backbone_norm == "FrozenBN" and not resume:
            message = f"{recipe}: the backbone has random weights and frozen norms; expected weights or a backbone"
            warnings.warn(message, stacklevel=2)
    return Trainer(
        model, training, dataset, out_dir, validation=validation_set, device=device, resume=resume, progress=progress
    )


def _base_config(
    config: str | Path | None, weights: str | Path | None, checkpoint: Checkpoint | None
) -> CondInstConfig:
    """The config of the model before it gets the classes of the data."""
    if config is None and checkpoint is not None:
        return checkpoint.config()
    return load_config(config or weights or DEFAULT_CONFIG)


def _recipe_for(name: str) -> str:
    """The built-in config that a model was made by, as far as its name shows."""
    recipe = name if name in config_names() else DEFAULT_RECIPE
    _logger.info("trained by the recipe of %s; a config chooses another", recipe)
    return recipe


def _new_model(config: CondInstConfig, backbone: str | Path | None) -> CondInst:
    """A model with random weights, those of the backbone aside."""
    model = new_model(config)
    if backbone is not None:
        load_backbone(model, backbone)
    return model


def _classes(data: AnnotatedImages, *, panoptic: bool) -> Classes:
    """The classes of a model that is trained on this data."""
    if not data.classes.num_classes:
        raise ValueError(f"{data.annotations}: expected at least one category of things to train on, got none")
    return data.classes if panoptic else data.classes.without_stuff
