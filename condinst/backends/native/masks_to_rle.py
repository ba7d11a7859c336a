"""`masks_to_rle` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import masks_to_rle as rules

from .library import register_native

register_native("masks_to_rle", rules.adapt)
