"""Pictures and outlines of what a model found."""

from .overlay import draw_predictions
from .polygons import mask_polygons

__all__ = ["draw_predictions", "mask_polygons"]
