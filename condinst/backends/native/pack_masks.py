"""`pack_masks` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import pack_masks as rules

from .library import register_native

register_native("pack_masks", rules.adapt)
