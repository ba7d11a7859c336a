"""`decode_detections` by the operator library."""

from __future__ import annotations

from condinst.backends.rules import decode_detections as rules

from .library import register_native

register_native("decode_detections", rules.adapt, unsupported_reason=rules.too_large)
