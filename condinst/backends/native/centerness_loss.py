"""`centerness_loss` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import centerness_loss as rules

from .library import register_native

register_native("centerness_loss", rules.adapt)
