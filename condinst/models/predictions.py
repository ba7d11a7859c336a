"""The objects that a model detects in one image, to look at, to save and to evaluate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..classes import Classes
from ..data.rles import mask_pixels, rle_to_json
from ..files import plain_number
from ..visualization import draw_predictions, mask_polygons
from .config import CondInstConfig
from .panoptic_prediction import PanopticPrediction


@dataclass(eq=False, repr=False)
class Predictions:
    """The K objects of one image by falling score, on the CPU.

    Args:
        image: uint8 [3, H, W] RGB.
        boxes: float32 [K, 4] (x1, y1, x2, y2) in pixels.
        scores: float32 [K] in 0..1.
        labels: int64 [K], 0-based.
        rles: the K masks as COCO run lengths, ready for JSON: {"size": [H, W], "counts": str}.
        classes: names and category ids of the labels.
        panoptic: instances and stuff without overlaps, from a `panoptic` model; None from others.
    """

    image: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    rles: list[dict[str, Any]]
    classes: Classes = Classes()
    panoptic: PanopticPrediction | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        height, width = self.image.shape[1:]
        if not len(self):
            return f"Predictions(nothing found, image {width} x {height})"
        counts = Counter(self.classes.name(label) for label in self.labels.tolist())
        objects = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        low, high = float(self.scores.min()), float(self.scores.max())
        return f"Predictions({objects}; scores {low:.2f} to {high:.2f}; image {width} x {height})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each label, or nothing."""
        return self.classes.class_names

    @cached_property
    def masks(self) -> Tensor:
        """The masks as pixels, bool [K, H, W]; decoded when asked for, and then kept."""
        height, width = self.image.shape[1:]
        return mask_pixels(self.rles, np.arange(height), np.arange(width))

    @property
    def polygons(self) -> list[list[list[float]]]:
        """The outlines of the masks: for each object, polygons [x, y, x, y, ...] in pixels, as in COCO annotations.

        An outline passes half a pixel outside the outermost pixel centres (contour lines, by contourpy); holes are
        polygons, too. An empty mask has none.
        """
        rows, columns = (np.arange(side) for side in self.image.shape[1:])
        return [mask_polygons(mask_pixels([rle], rows, columns)[0].numpy()) for rle in self.rles]

    def plot(self) -> Image.Image:
        """The image with masks, contours, boxes, class names and scores; see `draw_predictions`."""
        return draw_predictions(self.image, self.boxes, self.labels, self.scores, self.rles, self.classes.class_names)

    def save(self, path: str | Path) -> None:
        """Writes `plot()` to a file, in the format of its ending; missing folders are made."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.plot().save(path)

    def to_coco(self, image_id: int | str, category_ids: Sequence[int | str] | None = None) -> list[dict[str, Any]]:
        """The objects in COCO's results format, ready for JSON.

        pycocotools takes the area of a result from its box if it has one: drop "bbox" for mask AP by size.

        Args:
            image_id: the image's id in the annotation file; a number of NumPy or PyTorch becomes Python's.
            category_ids: the category id of each label, numbers as above; by default the model's own (COCO's for a COCO
                model), or label + 1 where it has none.

        Raises:
            ValueError: a label without a category id.
        """
        labels = self.labels.tolist()
        if category_ids is None:
            category_ids = self.classes.category_ids or range(1, max(labels, default=0) + 2)
        if isinstance(category_ids, (np.ndarray, Tensor)):
            category_ids = category_ids.tolist()
        if labels and max(labels) >= len(category_ids):
            raise ValueError(
                f"category_ids: expected an id for each of {max(labels) + 1} labels, got {len(category_ids)}"
            )
        rows = zip(labels, self.boxes.tolist(), self.scores.tolist(), self.rles, strict=True)
        return [
            {
                "image_id": plain_number(image_id),
                "category_id": plain_number(category_ids[label]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                "segmentation": rle,
            }
            for label, (x1, y1, x2, y2), score, rle in rows
        ]


def make_predictions(
    image: Tensor, result: dict[str, Any], config: CondInstConfig, score_threshold: float | None = None
) -> Predictions:
    """The result of `CondInst.forward` for one image, on the CPU and with the names of the config.

    Args:
        image: uint8 [3, H, W] RGB.
        result: with `rles`; its `panoptic`, if it has one, is taken over as it is.
        config: of the model that made the result.
        score_threshold: drops objects that score at or below it.
    """
    kept = torch.arange(len(result["scores"]), device=result["scores"].device)
    if score_threshold is not None:
        kept = kept[result["scores"] > score_threshold]
    panoptic = result.get("panoptic")
    return Predictions(
        image=image,
        boxes=result["boxes"][kept].cpu(),
        scores=result["scores"][kept].cpu(),
        labels=result["labels"][kept].cpu(),
        rles=[rle_to_json(result["rles"][index]) for index in kept.tolist()],
        classes=config.classes,
        panoptic=None
        if panoptic is None
        else PanopticPrediction(
            image=image,
            ids=panoptic["ids"].cpu(),
            segments_info=panoptic["segments_info"],
            classes=config.classes,
        ),
    )
