"""How good a model is on the way: average precision, or panoptic quality for panoptic models."""

from __future__ import annotations

import dataclasses

import torch

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.evaluation.categories import match_categories, match_panoptic_categories
from condinst.evaluation.coco import evaluate_coco
from condinst.evaluation.panoptic import evaluate_panoptic
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig


@dataclasses.dataclass(frozen=True)
class Validation:
    """Annotated images that a model is measured on.

    Args:
        data: the images.
        category_ids: the category in `data` of each label of the model, of each panoptic label for a panoptic one.
        measure: the column that says which weights are the best.
    """

    data: CocoInstances | CocoPanoptic
    category_ids: list[int | None]
    measure: str

    def scores(self, model: CondInst, max_images: int, device: torch.device) -> dict[str, float]:
        """The figures of a model on the first `max_images` images, 0 for all, by column."""
        if isinstance(self.data, CocoPanoptic):
            found = evaluate_panoptic(
                model, self.data, max_images=max_images, device=device, category_ids=self.category_ids
            )
            row = {name: found["all"][name] for name in ("PQ", "SQ", "RQ")}
            return row | {f"PQ_{kind}": found[kind]["PQ"] for kind in ("things", "stuff")}
        found = evaluate_coco(
            model,
            self.data,
            max_detections=model.config.max_detections or 100,  # COCO's number
            max_images=max_images,
            device=device,
            category_ids=self.category_ids,
        )
        return {
            f"{kind}_{name}": value
            for kind in ("mask", "box")
            for name, value in found[kind].items()
            if isinstance(value, float)
        }


def make_validation(
    validation: CocoInstances | CocoPanoptic, data: CocoInstances | CocoPanoptic, config: CondInstConfig
) -> Validation:
    """Looks through the annotations: what is bad in them is named now, not hours later.

    Args:
        validation: the images to measure on.
        data: the training images, whose categories are the model's.
        config: of the model.

    Raises:
        ValueError: other categories, a bad annotation, or a kind of annotations that the model has no results for.
    """
    if isinstance(validation, CocoPanoptic):
        if not config.panoptic:
            raise ValueError(
                f"{validation.annotations}: expected a panoptic model for panoptic annotations,"
                f" and {config.name} has no semantic branch"
            )
        validation.check_segments(len(validation))
        assert isinstance(data, CocoPanoptic)  # as check_classes wants it for such a config
        return Validation(validation, match_panoptic_categories(validation, _of_data(config, data)), "PQ")
    for index, image_id in enumerate(validation.image_ids):
        for annotation in validation.coco.imgToAnns[image_id]:
            validation.segmentation(annotation, *validation.image_size(index))
    matched = match_categories(
        validation.category_ids,
        validation.class_names,
        num_classes=len(data.category_ids),
        model_ids=data.category_ids,
        model_names=data.class_names,
    )
    return Validation(validation, matched, "mask_AP")


def check_classes(data: AnnotatedImages, config: CondInstConfig) -> None:
    """Raises ValueError where the classes of a model are not those of its training data."""
    expected = {"num_classes": len(data.category_ids)}
    if config.panoptic:
        if not isinstance(data, CocoPanoptic):
            raise ValueError(
                f"{data.annotations}: expected panoptic annotations for {config.name}, a panoptic model, got instances"
            )
        expected["num_stuff_classes"] = len(data.stuff_category_ids)
    for name, count in expected.items():
        if getattr(config, name) != count:
            raise ValueError(
                f"{name}: expected {count}, the categories of {data.annotations}, got {getattr(config, name)}"
            )


def _of_data(config: CondInstConfig, data: CocoPanoptic) -> CondInstConfig:
    """The config with the names and ids of its training data."""
    return config.replace(
        class_names=data.class_names,
        category_ids=tuple(data.category_ids),
        stuff_names=data.stuff_names,
        stuff_category_ids=tuple(data.stuff_category_ids),
    )
