"""`dice_loss` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import dice_loss as rules

from .library import register_native

register_native("dice_loss", rules.adapt)
