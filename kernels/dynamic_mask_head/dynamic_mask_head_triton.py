"""The kernels of `condinst.ops.dynamic_mask_head` in Triton.

All arrays are contiguous. "Acc" is float64 for float64 features, otherwise float32::

    features  [B, C, H, W] Acc    network_params [K, P] Acc    logits, grad_logits [K, H*f, W*f], dtype of the user
    locations [K, 2] Acc          sizes          [K] Acc       image_indices       [K] int64

An instance whose image index is out of range gets NaN, and no features are read for it. `SPEC` is a `Specialization`.
"""

import triton
import triton.language as tl

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
def dynamic_mask_head_forward(
    features,
    network_params,
    locations,
    image_indices,
    sizes,
    logits,
    num_images,
    feature_channels,
    height,
    width,
    stride,
    SPEC: tl.constexpr,
):
    """Program (instance, tile): the logits that the tile owns. The logits before upsampling stay on the chip."""
    tiles = count_tiles(height, width, SPEC)
    k = (tl.program_id(0) // tiles).to(tl.int64)
    first_row, first_column = tile_start(tl.program_id(0) % tiles, width, SPEC)
    y, x = tile_cells(first_row, first_column, SPEC)
    image = tl.load(image_indices + k)
    valid = (image >= 0) & (image < num_images)

    weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
    inputs = load_features(features + image * feature_channels * height * width, valid, y, x, height, width, SPEC)
    inputs = add_coordinates(inputs, locations + 2 * k, tl.load(sizes + k), y, x, stride, SPEC)
    _, cells = forward(weights, biases, inputs, SPEC)
    outputs = upsample(tl.reshape(cells, [SPEC.rows, SPEC.columns]), first_row, first_column, height, width, SPEC)
    outputs = tl.where(valid, outputs, float("nan"))

    exists, offset = outputs_in_map(first_row, first_column, height, width, SPEC)
    start = logits + k * height * width * (SPEC.factor * SPEC.factor)
    tl.store(start + offset, outputs.to(logits.dtype.element_ty), mask=exists & owned(SPEC.factor, SPEC))


@triton.jit
def _grad_of_cells(grad_logits, first_row, first_column, height, width, ACC: tl.constexpr, SPEC: tl.constexpr):
    """Gradient [rows * columns] of the logits before upsampling, 0 for cells that the tile does not own.

    `grad_logits` points to one instance.
    """
    exists, offset = outputs_in_map(first_row, first_column, height, width, SPEC)
    grads = tl.load(grad_logits + offset, mask=exists, other=0.0).to(ACC)
    grads = upsample_transposed(grads, first_row, first_column, height, width, SPEC)
    return tl.reshape(tl.where(owned(1, SPEC), grads, 0.0), [SPEC.rows * SPEC.columns])


@triton.jit
def dynamic_mask_head_grad_params(
    grad_logits,
    features,
    network_params,
    locations,
    image_indices,
    sizes,
    partial,
    num_images,
    feature_channels,
    height,
    width,
    stride,
    num_chunks,
    SPEC: tl.constexpr,
):
    """Program (instance, chunk): the gradient of the parameters over the tiles chunk, chunk + num_chunks, ...

    The caller sums `partial` [K, num_chunks, P] Acc over the chunks.
    """
    k = (tl.program_id(0) // num_chunks).to(tl.int64)
    chunk = tl.program_id(0) % num_chunks
    image = tl.load(image_indices + k)
    valid = (image >= 0) & (image < num_images)
    size = tl.load(sizes + k)
    features += image * feature_channels * height * width
    grad_logits += k * height * width * (SPEC.factor * SPEC.factor)

    weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
    grad_weights, grad_biases = zero_gradients(weights, biases, SPEC)
    for tile in range(chunk, count_tiles(height, width, SPEC), num_chunks):
        first_row, first_column = tile_start(tile, width, SPEC)
        y, x = tile_cells(first_row, first_column, SPEC)
        inputs = load_features(features, valid, y, x, height, width, SPEC)
        inputs = add_coordinates(inputs, locations + 2 * k, size, y, x, stride, SPEC)
        activations, _ = forward(weights, biases, inputs, SPEC)
        grad_cells = _grad_of_cells(grad_logits, first_row, first_column, height, width, inputs.dtype, SPEC)
        grads = backward(weights, activations, grad_cells, SPEC)
        grad_weights, grad_biases = add_gradients(grad_weights, grad_biases, activations, grads, grad_cells, SPEC)

    store_network(partial + tl.program_id(0).to(tl.int64) * SPEC.num_params, grad_weights, grad_biases, valid, SPEC)


@triton.jit
def dynamic_mask_head_grad_features(
    grad_logits,
    features,
    network_params,
    locations,
    sizes,
    order,
    starts,
    grad_features,
    feature_channels,
    height,
    width,
    stride,
    SPEC: tl.constexpr,
):
    """Program (image, tile): the gradient of the features that the tile owns, over the instances of the image.

    The instances of image b are order[starts[b]] ... order[starts[b + 1] - 1], and are added in this order.
    """
    tiles = count_tiles(height, width, SPEC)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    first_row, first_column = tile_start(tl.program_id(0) % tiles, width, SPEC)
    y, x = tile_cells(first_row, first_column, SPEC)
    features += image * feature_channels * height * width
    shared_inputs = load_features(features, True, y, x, height, width, SPEC)

    total = tl.zeros_like(shared_inputs)
    for position in range(tl.load(starts + image), tl.load(starts + image + 1)):
        k = tl.load(order + position)
        weights, biases = load_network(network_params + k * SPEC.num_params, SPEC)
        inputs = add_coordinates(shared_inputs, locations + 2 * k, tl.load(sizes + k), y, x, stride, SPEC)
        activations, _ = forward(weights, biases, inputs, SPEC)
        grads_of_instance = grad_logits + k * height * width * (SPEC.factor * SPEC.factor)
        grad_cells = _grad_of_cells(grads_of_instance, first_row, first_column, height, width, inputs.dtype, SPEC)
        grads = backward(weights, activations, grad_cells, SPEC)
        total += grad_of_inputs(weights, grads, grad_cells, SPEC)

    grad_features += image * feature_channels * height * width
    is_owned = tl.reshape(owned(1, SPEC), [SPEC.rows * SPEC.columns])
    store_grad_features(grad_features, total, is_owned, y, x, height, width, SPEC)
