"""The kernels of `condinst.ops.matrix_nms` in Triton; formulas and passes as in matrix_nms.h.

All arrays are contiguous. Places are positions in sorted order: `order` [N] has the mask at each place, `starts` [N]
the place at which its group begins.
"""

import triton
import triton.language as tl


@triton.jit
def count_bits(words):
    """The number of set bits of each int64. Triton's interpreter does not know an instruction for it."""
    words -= (words >> 1) & 0x5555555555555555
    words = (words & 0x3333333333333333) + ((words >> 2) & 0x3333333333333333)
    words = (words + (words >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (words * 0x0101010101010101) >> 56


@triton.jit
def matrix_nms_areas(masks, areas, mask_words, WORDS: tl.constexpr):
    """Program per mask: the number of its pixels."""
    mask = tl.program_id(0).to(tl.int64)
    counts = tl.zeros([WORDS], dtype=tl.int64)
    for first in range(0, mask_words, WORDS):
        word = first + tl.arange(0, WORDS)
        counts += count_bits(tl.load(masks + mask * mask_words + word, mask=word < mask_words, other=0))
    tl.store(areas + mask, tl.sum(counts))


@triton.jit
def matrix_nms_columns(
    masks, areas, order, starts, ious, highest, first_column, count, mask_words, ROWS: tl.constexpr, WORDS: tl.constexpr
):
    """Program per column of a pass: its IoU with each better mask of its group, and the highest IoU.

    `ious` [columns of the pass, N] by place of the better mask; `highest` [N] by place.
    """
    column = first_column + tl.program_id(0).to(tl.int64)
    candidate = tl.load(order + column)
    area = tl.load(areas + candidate)
    best = tl.zeros([ROWS], dtype=tl.float32)
    for first in range(tl.load(starts + column), column, ROWS):
        row = first + tl.arange(0, ROWS)
        inside = row < column
        better = tl.load(order + row, mask=inside, other=0)
        common = tl.zeros([ROWS], dtype=tl.int64)
        for start in range(0, mask_words, WORDS):
            word = start + tl.arange(0, WORDS)
            bits = tl.load(masks + candidate * mask_words + word, mask=word < mask_words, other=0)
            better_words = tl.load(
                masks + better[:, None] * mask_words + word[None, :],
                mask=inside[:, None] & (word < mask_words)[None, :],
                other=0,
            )
            common += tl.sum(count_bits(better_words & bits[None, :]), axis=1)
        union = area + tl.load(areas + better, mask=inside, other=0) - common
        # 0 for two empty masks
        iou = tl.div_rn(common.to(tl.float32), tl.maximum(union, 1).to(tl.float32))
        tl.store(ious + tl.program_id(0).to(tl.int64) * count + row, iou, mask=inside)
        best = tl.maximum(best, tl.where(inside, iou, 0.0))
    tl.store(highest + column, tl.max(best))


@triton.jit
def matrix_nms_factors(
    ious, highest, starts, factors, first_column, count, sigma, GAUSSIAN: tl.constexpr, ROWS: tl.constexpr
):
    """Program per column of a pass: the factor of its score."""
    column = first_column + tl.program_id(0).to(tl.int64)
    least = tl.zeros([ROWS], dtype=tl.float32)
    if not GAUSSIAN:
        least += 1.0
    for first in range(tl.load(starts + column), column, ROWS):
        row = first + tl.arange(0, ROWS)
        inside = row < column
        iou = tl.load(ious + tl.program_id(0).to(tl.int64) * count + row, mask=inside, other=0)
        bound = tl.load(highest + row, mask=inside, other=0)
        if GAUSSIAN:
            decay = (bound - iou) * (bound + iou)
        else:
            # a duplicate gets a score of 0 and lowers no other score
            decay = tl.where(bound < 1, (1 - iou) / tl.where(bound < 1, 1 - bound, 1.0), 1.0)
        least = tl.minimum(least, tl.where(inside, decay, least))
    factor = tl.min(least)
    if GAUSSIAN:
        factor = tl.exp(sigma * factor)
    tl.store(factors + column, factor)
