"""Divides a map into tiles for Triton programs: functions for Triton kernels.

A tile computes [rows, columns] cells. It owns the cells without its border of `halo` cells, which upsampling needs:
tiles overlap, but owned cells do not. The first tile begins at cell -halo. `SPEC` is a `Specialization`.
"""

import triton
import triton.language as tl


@triton.jit
def count_tiles(height, width, SPEC: tl.constexpr):
    """Number of tiles of a map."""
    return tl.cdiv(height, SPEC.rows - 2 * SPEC.halo) * tl.cdiv(width, SPEC.columns - 2 * SPEC.halo)


@triton.jit
def tile_start(tile, width, SPEC: tl.constexpr):
    """First row and first column of the cells of a tile."""
    tiles_in_row = tl.cdiv(width, SPEC.columns - 2 * SPEC.halo)
    first_row = (tile // tiles_in_row) * (SPEC.rows - 2 * SPEC.halo) - SPEC.halo
    first_column = (tile % tiles_in_row) * (SPEC.columns - 2 * SPEC.halo) - SPEC.halo
    return first_row, first_column


@triton.jit
def tile_cells(first_row, first_column, SPEC: tl.constexpr):
    """Row and column of the cells of a tile, [rows * columns] each."""
    cell = tl.arange(0, SPEC.rows * SPEC.columns)
    return first_row + cell // SPEC.columns, first_column + cell % SPEC.columns


@triton.jit
def outputs_in_map(first_row, first_column, height, width, SPEC: tl.constexpr):
    """Whether the outputs [rows * factor, columns * factor] of a tile exist, and their offsets in the upsampled map."""
    y = first_row * SPEC.factor + tl.arange(0, SPEC.rows * SPEC.factor)
    x = first_column * SPEC.factor + tl.arange(0, SPEC.columns * SPEC.factor)
    inside_rows = (y >= 0) & (y < height * SPEC.factor)
    inside_columns = (x >= 0) & (x < width * SPEC.factor)
    offset = y.to(tl.int64)[:, None] * (width * SPEC.factor) + x[None, :]
    return inside_rows[:, None] & inside_columns[None, :], offset


@triton.jit
def owned(FACTOR: tl.constexpr, SPEC: tl.constexpr):
    """Whether the tile owns its cells, or with FACTOR its outputs [rows * FACTOR, columns * FACTOR]."""
    row = tl.arange(0, SPEC.rows * FACTOR) // FACTOR
    column = tl.arange(0, SPEC.columns * FACTOR) // FACTOR
    owned_rows = (row >= SPEC.halo) & (row < SPEC.rows - SPEC.halo)
    owned_columns = (column >= SPEC.halo) & (column < SPEC.columns - SPEC.halo)
    return owned_rows[:, None] & owned_columns[None, :]
