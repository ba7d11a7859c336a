"""`fcos_targets` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import fcos_targets as rules

from .library import register_native

register_native("fcos_targets", rules.adapt, unsupported_reason=rules.too_many_levels)
