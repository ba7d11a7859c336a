"""The operators that are not written in Triton, and why: the support table says so."""

from __future__ import annotations

from condinst.backends.registry import decline

_SELECTION = "it picks the best of lists whose lengths depend on values, and Triton has no sort of more than a block"
_SUPPRESSION = (
    "it goes through sorted lists of different lengths one after the other, a thread's work and not a block's"
)

decline("decode_detections", "triton", f"not made in Triton: {_SELECTION}")
decline("select_top_locations", "triton", f"not made in Triton: {_SELECTION}")
decline("nms", "triton", f"not made in Triton: {_SUPPRESSION}")
decline("mask_nms", "triton", f"not made in Triton: {_SUPPRESSION}")
decline(
    "masks_to_rle", "triton", "not made in Triton: how much it writes depends on values, and Triton has no compaction"
)
decline(
    "masks_to_image",
    "triton",
    "not made in Triton: most pixels need no arithmetic, which is known from bits in shared memory that Triton hides",
)
decline(
    "panoptic_merge",
    "triton",
    "not made in Triton: instances take their pixels one after the other, and bits in shared memory tell which pixels "
    "need no arithmetic",
)
