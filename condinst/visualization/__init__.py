"""Draws detections, outlines of masks and learning curves."""

from .explain import draw_explanation
from .learning_curves import can_draw_curves, save_learning_curves
from .overlay import draw_predictions
from .panoptic import draw_panoptic
from .polygons import mask_polygons

__all__ = [
    "can_draw_curves",
    "draw_explanation",
    "draw_panoptic",
    "draw_predictions",
    "mask_polygons",
    "save_learning_curves",
]
