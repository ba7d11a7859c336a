"""`sigmoid_focal_loss` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import sigmoid_focal_loss as rules

from .library import register_native

register_native("sigmoid_focal_loss", rules.adapt)
