"""Aligned bilinear upsampling of a tile of a map, and its transpose: functions for Triton kernels.

Output i of an axis with `size` cells lies at cell s = max(i - f // 2, 0) / f: between low = floor(s) and
high = min(low + 1, size - 1), with weight s - low on high. A tile of [ROWS, COLUMNS] cells that begins at cell `first`
(which may be -1) gives the outputs first * f ... (first + ROWS) * f - 1. Outputs that need a cell outside of the tile,
and gradients of cells that reach an output outside of it, are meaningless, and the caller does not use them.
"""

import triton
import triton.language as tl


@triton.jit
def _sources(i, size, FACTOR: tl.constexpr):
    """Cells low and high of the outputs `i`, and the steps of 1 / FACTOR from low towards high."""
    step = tl.maximum(i - FACTOR // 2, 0)
    low = step // FACTOR
    return low, tl.minimum(low + 1, size - 1), step % FACTOR


@triton.jit
def _take_rows(tile, row, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr):
    """Rows [COUNT, COLUMNS] of a [ROWS, COLUMNS] tile; rows outside of it are replaced by the nearest row."""
    row = tl.minimum(tl.maximum(row, 0), ROWS - 1)
    return tl.gather(tile, tl.broadcast_to(row[:, None], [COUNT, COLUMNS]), axis=0)


@triton.jit
def _upsample_rows(tile, first, size, FACTOR: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    count: tl.constexpr = ROWS * FACTOR
    low, high, steps = _sources(first * FACTOR + tl.arange(0, count), size, FACTOR)
    near = _take_rows(tile, low - first, ROWS, COLUMNS, count)
    far = _take_rows(tile, high - first, ROWS, COLUMNS, count)
    weight = (steps.to(tile.dtype) * (1.0 / FACTOR))[:, None]
    # 0 * NaN would spread a NaN to outputs that do not depend on it
    return tl.where(weight == 0, near, near * (1 - weight) + far * weight)


@triton.jit
def _transpose_rows(grads, first, size, FACTOR: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    taps: tl.constexpr = 2 * FACTOR - 1
    cell = first + tl.arange(0, ROWS)
    total = tl.zeros([ROWS, COLUMNS], dtype=grads.dtype)
    for tap in tl.static_range(taps):
        i = cell * FACTOR + (FACTOR // 2 + 1 - FACTOR + tap)
        low, high, steps = _sources(i, size, FACTOR)
        # at the end of the map low and high are the same cell
        weight = tl.where(low == cell, FACTOR - steps, 0) + tl.where(high == cell, steps, 0)
        weight = tl.where((i >= 0) & (i < size * FACTOR), weight, 0)[:, None]
        value = _take_rows(grads, i - first * FACTOR, ROWS * FACTOR, COLUMNS, ROWS)
        total += tl.where(weight == 0, 0.0, value * (weight.to(grads.dtype) * (1.0 / FACTOR)))
    return total


@triton.jit
def upsample(tile, first_row, first_column, height, width, SPEC: tl.constexpr):
    """Upsamples [rows, columns] cells of a map [height, width] to [rows * factor, columns * factor] outputs."""
    if SPEC.factor > 1:
        tile = _upsample_rows(tile, first_row, height, SPEC.factor, SPEC.rows, SPEC.columns)
        outputs: tl.constexpr = SPEC.rows * SPEC.factor
        tile = tl.trans(_upsample_rows(tl.trans(tile), first_column, width, SPEC.factor, SPEC.columns, outputs))
    return tile


@triton.jit
def upsample_transposed(grads, first_row, first_column, height, width, SPEC: tl.constexpr):
    """Computes the gradient of [rows, columns] cells from that of [rows * factor, columns * factor] outputs."""
    if SPEC.factor > 1:
        outputs: tl.constexpr = SPEC.columns * SPEC.factor
        grads = _transpose_rows(grads, first_row, height, SPEC.factor, SPEC.rows, outputs)
        grads = tl.trans(_transpose_rows(tl.trans(grads), first_column, width, SPEC.factor, SPEC.columns, SPEC.rows))
    return grads
