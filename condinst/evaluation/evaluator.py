"""Scores of a model on annotated images, for instances and panoptic segments alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.evaluation.categories import match_classes
from condinst.evaluation.coco import InstanceEvaluator
from condinst.evaluation.panoptic import PanopticEvaluator
from condinst.models.config import CondInstConfig


class Evaluator(Protocol):
    """What `InstanceEvaluator` and `PanopticEvaluator` have in common."""

    best_metric: str
    """The column that tells which of two models is better."""

    @property
    def data(self) -> AnnotatedImages:
        """The annotated images."""

    def check(self, max_images: int = 0) -> None:
        """Reads the annotations, so that what is wrong with them is known before a model runs.

        Args:
            max_images: only so many of the first images; 0 for all.

        Raises:
            ValueError: a negative `max_images`, annotations that cannot be scored, or no image file at all.
        """

    def evaluate(
        self, model: nn.Module, *, max_images: int = 0, device: torch.device | str = "cpu", progress: bool = False
    ) -> dict[str, Any]:
        """Runs a model over the images and scores its results, after `check`.

        Images go through one at a time and leave only their results behind, so memory does not grow with the pixels.
        Where torch.distributed is initialised, all its processes must call this: each takes every world-size-th image,
        and all return the scores that one process alone would.

        An image that cannot be read, is of another size than its annotation says or does not fit in the GPU's memory
        is named in the log and skipped. Its objects count as missed.

        Args:
            model: takes a list of images. It is put into eval mode and back.
            max_images: only so many of the first images; 0 for all.
            device: where the model runs.
            progress: show a progress bar on stderr, if that is a terminal.

        Returns:
            The scores, and `data`, the annotation file; `images`, their number; `failed`, the skipped images as
            {"image_id", "path", "reason"}; `timing`, the mean seconds of an image in the `model` and in `total`, with
            reading and encoding, NaN without images.

        Raises:
            ValueError: see `check`; a label beyond the categories.
        """

    def columns(self, scores: dict[str, Any]) -> dict[str, float]:
        """The main figures of what `evaluate` returns, by the names of columns in a table."""


def make_evaluator(
    data: CocoInstances | CocoPanoptic,
    config: CondInstConfig,
    *,
    results_dir: str | Path | None = None,
    curves: bool = False,
) -> Evaluator:
    """The evaluator of a model: of panoptic segments where these are the annotations, else of instances.

    Args:
        data: the annotated images.
        config: of the model, whose classes are matched with those of the data, see `match_classes`.
        results_dir: write the results there in COCO's formats: `results.json`, or those of `PanopticEvaluator`.
        curves: return precision-recall curves of instances, too.

    Raises:
        ValueError: categories that the model does not know; panoptic data for a model without panoptic results; results
            that would overwrite the annotations.
    """
    if isinstance(data, CocoPanoptic):
        if not config.panoptic:
            raise ValueError(
                f"{data.annotations}: expected a panoptic model for panoptic annotations,"
                f" and {config.name} has no semantic branch"
            )
        category_ids = match_classes(data.classes, config.classes, stuff=True)
        return PanopticEvaluator(data, category_ids=category_ids, results_dir=results_dir)
    return InstanceEvaluator(
        data,
        max_detections=config.max_detections or 100,  # COCO's number
        category_ids=match_classes(data.classes, config.classes, stuff=False),
        results_path=None if results_dir is None else Path(results_dir) / "results.json",
        curves=curves,
    )
