"""The kernel of `condinst.ops.mask_centers` in Triton. Masks are contiguous uint8."""

import triton
import triton.language as tl


@triton.jit
def mask_centers_sums(masks, partial, height, width, num_bands, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Program (mask, band): sum(x * m), sum(y * m) and sum(m) over ROWS rows.

    The caller sums `partial` [G, num_bands, 3] int64 over the bands.
    """
    mask = (tl.program_id(0) // num_bands).to(tl.int64)
    y = (tl.program_id(0) % num_bands).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    row = masks + (mask * height + y) * width
    totals = tl.zeros([ROWS, COLUMNS], dtype=tl.int64)
    columns = tl.zeros([ROWS, COLUMNS], dtype=tl.int64)
    for first in range(0, width, COLUMNS):
        x = first + tl.arange(0, COLUMNS)[None, :]
        pixels = tl.load(row + x, mask=(y < height) & (x < width), other=0).to(tl.int64)
        totals += pixels
        columns += x * pixels
    sums = partial + 3 * tl.program_id(0).to(tl.int64)
    tl.store(sums, tl.sum(columns))
    tl.store(sums + 1, tl.sum(totals * y))
    tl.store(sums + 2, tl.sum(totals))
