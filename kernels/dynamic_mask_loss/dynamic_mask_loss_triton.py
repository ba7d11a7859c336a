"""The kernels of `condinst.ops.dynamic_mask_loss` in Triton.

The arrays are those of `dynamic_mask_head_triton`, and::

    target_masks [G, H*f, W*f] uint8      target_indices [K] int64, in range if the image index is
    grad_losses  [K] Acc                  sums           [K, 2] Acc: overlap and total (eps included), as in `dice_loss`

Each kernel computes the masks again, and they stay on the chip.
"""

import triton
import triton.language as tl

from ..common.loss_triton import dice_gradient, dice_terms
from ..mask_network.layers_triton import (
    add_coordinates,
    add_gradients,
    backward,
    forward,
    grad_of_inputs,
    load_features,
    load_network,
    store_grad_features,
    store_network,
    zero_gradients,
)
from ..mask_network.tiles_triton import count_tiles, outputs_in_map, owned, tile_cells, tile_start
from ..mask_network.upsampling_triton import upsample, upsample_transposed


@triton.jit
def _masks_and_targets(cells, target_mask, readable, first_row, first_column, height, width, SPEC: tl.constexpr):
    """Masks after the sigmoid, targets, and whether each pixel exists, each [rows * factor, columns * factor].

    `target_mask` points to one target.
    """
    exists, offset = outputs_in_map(first_row, first_column, height, width, SPEC)
    cells = tl.reshape(cells, [SPEC.rows, SPEC.columns])
    logits = upsample(cells, first_row, first_column, height, width, SPEC)
    targets = tl.load(target_mask + offset, mask=exists & readable, other=0).to(cells.dtype)
    return 1 / (1 + tl.exp(-logits)), targets, exists


@triton.jit
def _grad_of_cells(
    cells, target_mask, scale, ratio, readable, first_row, first_column, height, width, SPEC: tl.constexpr
):
    """Gradient [rows * columns] of the logits before upsampling, 0 for cells that the tile does not own."""
    masks, targets, exists = _masks_and_targets(
        cells, target_mask, readable, first_row, first_column, height, width, SPEC
    )
    grads = tl.where(exists, scale * (ratio * masks - targets) * (masks * (1 - masks)), 0.0)
    grads = upsample_transposed(grads, first_row, first_column, height, width, SPEC)
    return tl.reshape(tl.where(owned(1, SPEC), grads, 0.0), [SPEC.rows * SPEC.columns])


@triton.jit
def dynamic_mask_loss_sums(
    features,
    network_params,
    locations,
    image_indices,
    sizes,
    target_masks,
    target_indices,
    partial,
    num_images,
    feature_channels,
    height,
    width,
    stride,
    num_chunks,
    SPEC: tl.constexpr,
):
    """Program (instance, chunk): overlap and squares over the tiles chunk, chunk + num_chunks, ...

    The caller sums `partial` [K, num_chunks, 2] Acc over the chunks.
    """
    k = (tl.program_id(0) // num_chunks).to(tl.int64)
    chunk = tl.program_id(0) % num_chunks
    image = tl.load(image_indices + k)
    valid = (image >= 0) & (image < num_images)
    size = tl.load(sizes + k)
    features += image * feature_channels * height * width
    target_masks += tl.load(target_indices + k) * height * width * (SPEC.factor * SPEC.factor)

    weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
    overlap = tl.zeros_like(size)
    squares = tl.zeros_like(size)
    for tile in range(chunk, count_tiles(height, width, SPEC), num_chunks):
        first_row, first_column = tile_start(tile, width, SPEC)
        y, x = tile_cells(first_row, first_column, SPEC)
        inputs = load_features(features, valid, y, x, height, width, SPEC)
        inputs = add_coordinates(inputs, locations + 2 * k, size, y, x, stride, SPEC)
        _, cells = forward(weights, biases, inputs, SPEC)
        masks, targets, exists = _masks_and_targets(
            cells, target_masks, valid, first_row, first_column, height, width, SPEC
        )
        counted = exists & owned(SPEC.factor, SPEC)
        products, both_squares = dice_terms(masks, targets)
        overlap += tl.sum(tl.where(counted, products, 0.0))
        squares += tl.sum(tl.where(counted, both_squares, 0.0))

    sums = partial + 2 * tl.program_id(0).to(tl.int64)
    tl.store(sums, tl.where(valid, overlap, float("nan")))
    tl.store(sums + 1, tl.where(valid, squares, float("nan")))


@triton.jit
def dynamic_mask_loss_grad_params(
    grad_losses,
    sums,
    features,
    network_params,
    locations,
    image_indices,
    sizes,
    target_masks,
    target_indices,
    partial,
    num_images,
    feature_channels,
    height,
    width,
    stride,
    num_chunks,
    SPEC: tl.constexpr,
):
    """Program (instance, chunk): the same as `dynamic_mask_head_grad_params`."""
    k = (tl.program_id(0) // num_chunks).to(tl.int64)
    chunk = tl.program_id(0) % num_chunks
    image = tl.load(image_indices + k)
    valid = (image >= 0) & (image < num_images)
    size = tl.load(sizes + k)
    scale, ratio = dice_gradient(tl.load(grad_losses + k), tl.load(sums + 2 * k), tl.load(sums + 2 * k + 1))
    features += image * feature_channels * height * width
    target_masks += tl.load(target_indices + k) * height * width * (SPEC.factor * SPEC.factor)

    weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
    grad_weights, grad_biases = zero_gradients(weights, biases, SPEC)
    for tile in range(chunk, count_tiles(height, width, SPEC), num_chunks):
        first_row, first_column = tile_start(tile, width, SPEC)
        y, x = tile_cells(first_row, first_column, SPEC)
        inputs = load_features(features, valid, y, x, height, width, SPEC)
        inputs = add_coordinates(inputs, locations + 2 * k, size, y, x, stride, SPEC)
        activations, cells = forward(weights, biases, inputs, SPEC)
        grad_cells = _grad_of_cells(
            cells, target_masks, scale, ratio, valid, first_row, first_column, height, width, SPEC
        )
        grads = backward(weights, activations, grad_cells, SPEC)
        grad_weights, grad_biases = add_gradients(grad_weights, grad_biases, activations, grads, grad_cells, SPEC)

    store_network(partial + tl.program_id(0).to(tl.int64) * SPEC.num_params, grad_weights, grad_biases, valid, SPEC)


@triton.jit
def dynamic_mask_loss_grad_features(
    grad_losses,
    sums,
    features,
    network_params,
    locations,
    sizes,
    target_masks,
    target_indices,
    order,
    starts,
    grad_features,
    feature_channels,
    height,
    width,
    stride,
    SPEC: tl.constexpr,
):
    """Program (image, tile): the same as `dynamic_mask_head_grad_features`."""
    tiles = count_tiles(height, width, SPEC)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    first_row, first_column = tile_start(tl.program_id(0) % tiles, width, SPEC)
    y, x = tile_cells(first_row, first_column, SPEC)
    features += image * feature_channels * height * width
    shared_inputs = load_features(features, True, y, x, height, width, SPEC)

    total = tl.zeros_like(shared_inputs)
    for position in range(tl.load(starts + image), tl.load(starts + image + 1)):
        k = tl.load(order + position)
        scale, ratio = dice_gradient(tl.load(grad_losses + k), tl.load(sums + 2 * k), tl.load(sums + 2 * k + 1))
        weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
        inputs = add_coordinates(shared_inputs, locations + 2 * k, tl.load(sizes + k), y, x, stride, SPEC)
        activations, cells = forward(weights, biases, inputs, SPEC)
        target_mask = target_masks + tl.load(target_indices + k) * height * width * (SPEC.factor * SPEC.factor)
        grad_cells = _grad_of_cells(
            cells, target_mask, scale, ratio, True, first_row, first_column, height, width, SPEC
        )
        grads = backward(weights, activations, grad_cells, SPEC)
        total += grad_of_inputs(weights, grads, grad_cells, SPEC)

    grad_features += image * feature_channels * height * width
    is_owned = tl.reshape(owned(1, SPEC), [SPEC.rows * SPEC.columns])
    store_grad_features(grad_features, total, is_owned, y, x, height, width, SPEC)
