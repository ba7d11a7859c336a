"""`matrix_nms` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import matrix_nms as rules

from .library import register_native

register_native("matrix_nms", rules.adapt)
