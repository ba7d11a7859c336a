"""The kernel of `condinst.ops.fcos_targets` in Triton; conditions and formulas as in fcos_targets.h.

All arrays are contiguous. Division and square root round to nearest, so that results have the bits of the reference.
"""

import triton
import triton.language as tl


@triton.jit
def fcos_targets(
    boxes,
    labels,
    centers,
    image_indices,
    location_labels,
    distances,
    centerness,
    object_indices,
    num_objects,
    num_classes,
    num_locations,
    first_location,
    height,
    width,
    stride,
    num_blocks,
    lowest,
    highest,
    radius,
    HAS_CENTERS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (image, block): the targets of BLOCK cells of a level, which begins at `first_location`."""
    image = (tl.program_id(0) // num_blocks).to(tl.int64)
    cell = (tl.program_id(0) % num_blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = cell // width < height
    x = (cell % width * stride + stride // 2).to(tl.float32)
    y = (cell // width * stride + stride // 2).to(tl.float32)

    pixels = tl.full([BLOCK], 0, tl.float32) + stride
    reach = radius * pixels
    smallest = tl.full([BLOCK], float("inf"), tl.float32)
    owner = tl.full([BLOCK], -1, tl.int64)
    for index in range(0, num_objects):
        if tl.load(image_indices + index) == image:
            x1 = tl.load(boxes + 4 * index)
            y1 = tl.load(boxes + 4 * index + 1)
            x2 = tl.load(boxes + 4 * index + 2)
            y2 = tl.load(boxes + 4 * index + 3)
            if HAS_CENTERS:
                center_x = tl.load(centers + 2 * index)
                center_y = tl.load(centers + 2 * index + 1)
            else:
                center_x = (x1 + x2) * 0.5
                center_y = (y1 + y2) * 0.5
            left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y
            in_box = (left > 0) & (top > 0) & (right > 0) & (bottom > 0)
            after_begin = (x - (center_x - reach) > 0) & (y - (center_y - reach) > 0)
            before_end = ((center_x + reach) - x > 0) & ((center_y + reach) - y > 0)
            longest = tl.maximum(tl.maximum(left, right), tl.maximum(top, bottom))
            fits_level = (longest >= lowest) & (longest <= highest)
            area = (x2 - x1) * (y2 - y1)
            better = in_box & after_begin & before_end & fits_level & (area < smallest)
            smallest = tl.where(better, area, smallest)
            owner = tl.where(better, index, owner)

    positive = exists & (owner >= 0)
    box = boxes + 4 * owner
    left = tl.div_rn(x - tl.load(box, mask=positive, other=0), pixels)
    top = tl.div_rn(y - tl.load(box + 1, mask=positive, other=0), pixels)
    right = tl.div_rn(tl.load(box + 2, mask=positive, other=0) - x, pixels)
    bottom = tl.div_rn(tl.load(box + 3, mask=positive, other=0) - y, pixels)
    # background gives 0 / 0 here, which is not stored
    ratios = tl.div_rn(tl.minimum(left, right), tl.maximum(left, right)) * tl.div_rn(
        tl.minimum(top, bottom), tl.maximum(top, bottom)
    )
    location = image * num_locations + first_location + cell
    label = tl.load(labels + owner, mask=positive, other=0)
    tl.store(location_labels + location, tl.where(positive, label, num_classes), mask=exists)
    tl.store(distances + 4 * location, tl.where(positive, left, 0.0), mask=exists)
    tl.store(distances + 4 * location + 1, tl.where(positive, top, 0.0), mask=exists)
    tl.store(distances + 4 * location + 2, tl.where(positive, right, 0.0), mask=exists)
    tl.store(distances + 4 * location + 3, tl.where(positive, bottom, 0.0), mask=exists)
    root = tl.sqrt_rn(tl.where(positive, ratios, 0.0))
    tl.store(centerness + location, root, mask=exists)
    tl.store(object_indices + location, owner, mask=exists)
