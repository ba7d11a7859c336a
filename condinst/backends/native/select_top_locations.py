"""`select_top_locations` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import select_top_locations as rules

from .library import register_native

register_native("select_top_locations", rules.adapt)
