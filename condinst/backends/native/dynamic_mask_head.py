"""`dynamic_mask_head` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import dynamic_mask_head as rules

from .library import register_native

register_native("dynamic_mask_head", rules.adapt, unsupported_reason=rules.too_large)
