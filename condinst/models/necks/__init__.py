"""Feature pyramids."""

from .fpn import make_fpn

__all__ = ["make_fpn"]
