"""`panoptic_merge` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import panoptic_merge as rules

from .library import register_native

register_native("panoptic_merge", rules.adapt)
