"""`giou_loss` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import giou_loss as rules

from .library import register_native

register_native("giou_loss", rules.adapt)
