"""`dynamic_mask_loss` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import dynamic_mask_head, dynamic_mask_loss

from .library import register_native

register_native("dynamic_mask_loss", dynamic_mask_loss.adapt, unsupported_reason=dynamic_mask_head.too_large)
