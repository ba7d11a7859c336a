"""Pictures of what a model found."""

from .overlay import draw_predictions

__all__ = ["draw_predictions"]
