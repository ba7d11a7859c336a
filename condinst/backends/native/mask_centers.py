"""`mask_centers` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import mask_centers as rules

from .library import register_native

register_native("mask_centers", rules.adapt)
