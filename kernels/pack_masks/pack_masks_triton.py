"""The kernel of `condinst.ops.pack_masks` in Triton. All arrays are contiguous; bool masks are passed as uint8."""

import triton
import triton.language as tl


@triton.jit
def pack_masks_words(masks, words, threshold, size, mask_words, num_blocks, BLOCK: tl.constexpr):
    """Program (mask, block): BLOCK words of 64 pixels; the dtype of the masks represents `threshold` exactly."""
    mask = (tl.program_id(0) // num_blocks).to(tl.int64)
    word = (tl.program_id(0) % num_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    place = tl.arange(0, 64).to(tl.int64)  # [64]
    pixel = word[:, None] * 64 + place[None, :]  # [BLOCK, 64]
    inside = pixel < size
    values = tl.load(masks + mask * size + pixel, mask=inside, other=0)
    if masks.dtype.element_ty.is_floating():
        if masks.dtype.element_ty.primitive_bitwidth < 32:
            values = values.to(tl.float32)
        bits = (values > threshold) & inside
    else:
        bits = values != 0
    packed = tl.sum(bits.to(tl.int64) << place[None, :], axis=1)  # [BLOCK]
    tl.store(words + mask * mask_words + word, packed, mask=word < mask_words)
