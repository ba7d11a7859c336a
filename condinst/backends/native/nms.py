"""`nms` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import nms as rules

from .library import register_native

register_native("nms", rules.adapt)
