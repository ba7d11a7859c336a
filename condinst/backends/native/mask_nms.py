"""`mask_nms` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import mask_nms as rules

from .library import register_native

register_native("mask_nms", rules.adapt)
