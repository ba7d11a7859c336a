"""The network of one instance on a block of N cells, forward and backward: functions for Triton kernels.

Activations are [16, N]: channels are padded with zeros to 16, the least that ``tl.dot`` takes. The input, which has the
coordinates before up to 16 features, is padded to 16 or 32 (`in_padded`). Padded weights are 0, so that padded channels
are 0 and get no gradient. Weights and biases are tuples with an entry per layer: [16, 16] ([16, in_padded] for the
first) and [16]; the last layer, which has one output, is a vector and a number. `SPEC` is a `Specialization`.
"""

import triton
import triton.language as tl


@triton.jit
def _layer_pointers(params, LAYER: tl.constexpr, SPEC: tl.constexpr):
    """The positions of a layer's parameters: pointers to an instance's first weight and bias, and their columns."""
    columns: tl.constexpr = SPEC.in_channels if LAYER == 0 else SPEC.channels
    before: tl.constexpr = 0 if LAYER == 0 else SPEC.channels * (SPEC.in_channels + (LAYER - 1) * SPEC.channels)
    biases: tl.constexpr = (SPEC.num_layers - 1) * SPEC.channels + 1
    return params + before, params + (SPEC.num_params - biases + LAYER * SPEC.channels), columns


@triton.jit
def _load_layer(params, LAYER: tl.constexpr, SPEC: tl.constexpr):
    weights, biases, columns = _layer_pointers(params, LAYER, SPEC)
    padded: tl.constexpr = SPEC.in_padded if LAYER == 0 else 16
    column = tl.arange(0, padded)
    if SPEC.num_layers - 1 == LAYER:
        weight = tl.load(weights + column, mask=column < columns, other=0.0)
        bias = tl.load(biases)
    else:
        row = tl.arange(0, 16)
        inside = (row < SPEC.channels)[:, None] & (column < columns)[None, :]
        weight = tl.load(weights + row[:, None] * columns + column[None, :], mask=inside, other=0.0)
        bias = tl.load(biases + row, mask=row < SPEC.channels, other=0.0)
    return weight, bias


@triton.jit
def _store_layer(params, weight, bias, LAYER: tl.constexpr, SPEC: tl.constexpr):
    weights, biases, columns = _layer_pointers(params, LAYER, SPEC)
    padded: tl.constexpr = SPEC.in_padded if LAYER == 0 else 16
    column = tl.arange(0, padded)
    if SPEC.num_layers - 1 == LAYER:
        tl.store(weights + column, weight, mask=column < columns)
        tl.store(biases, bias)
    else:
        row = tl.arange(0, 16)
        inside = (row < SPEC.channels)[:, None] & (column < columns)[None, :]
        tl.store(weights + row[:, None] * columns + column[None, :], weight, mask=inside)
        tl.store(biases + row, bias, mask=row < SPEC.channels)


@triton.jit
def load_network(params, SPEC: tl.constexpr):
    """Weights and biases of all layers; `params` points to the parameters of an instance."""
    num_layers: tl.constexpr = SPEC.num_layers
    weights = ()
    biases = ()
    for layer in tl.static_range(num_layers):
        weight, bias = _load_layer(params, layer, SPEC)
        weights = weights + (weight,)
        biases = biases + (bias,)
    return weights, biases


@triton.jit
def store_network(params, weights, biases, valid, SPEC: tl.constexpr):
    """The inverse of `load_network`; stores NaN if `valid` is false."""
    num_layers: tl.constexpr = SPEC.num_layers
    for layer in tl.static_range(num_layers):
        weight = tl.where(valid, weights[layer], float("nan"))
        bias = tl.where(valid, biases[layer], float("nan"))
        _store_layer(params, weight, bias, layer, SPEC)


@triton.jit
def load_features(features, readable, y, x, height, width, SPEC: tl.constexpr):
    """Input [in_padded, N] of the network at cells (y, x), 0 in the rows of coordinates and outside of the map.

    `features` points to an image [C, H, W], which is not read if `readable` is false.
    """
    offset, inside = _feature_offsets(y, x, height, width, SPEC)
    return tl.load(features + offset, mask=inside & readable, other=0.0)


@triton.jit
def store_grad_features(grad_features, grads, owned, y, x, height, width, SPEC: tl.constexpr):
    """Stores the rows of the features of a gradient [in_padded, N], for the cells [N] that are `owned`."""
    offset, inside = _feature_offsets(y, x, height, width, SPEC)
    tl.store(grad_features + offset, grads, mask=inside & owned[None, :])


@triton.jit
def _feature_offsets(y, x, height, width, SPEC: tl.constexpr):
    """Offsets [in_padded, N] in an image [C, H, W], and whether each exists."""
    channel = tl.arange(0, SPEC.in_padded) - SPEC.first_feature
    real = (channel >= 0) & (channel < SPEC.num_features)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    offset = channel.to(tl.int64)[:, None] * height * width + (y.to(tl.int64) * width + x)[None, :]
    return offset, real[:, None] & inside[None, :]


@triton.jit
def add_coordinates(inputs, location, size, y, x, stride, SPEC: tl.constexpr):
    """Puts the coordinates of cells (y, x) into rows 0 (x) and 1 (y); `location` points to the (x, y) of an instance.

    Relative coordinates are (location - pixel) / size, absolute coordinates are pixel / size.
    """
    if SPEC.coordinates != 0:
        column = (x * stride + stride // 2).to(inputs.dtype)
        row = (y * stride + stride // 2).to(inputs.dtype)
        if SPEC.coordinates == 1:
            column = tl.load(location) - column
            row = tl.load(location + 1) - row
        channel = tl.arange(0, SPEC.in_padded)[:, None]
        inputs = tl.where(channel == 0, (column / size)[None, :], inputs)
        inputs = tl.where(channel == 1, (row / size)[None, :], inputs)
    return inputs


@triton.jit
def forward(weights, biases, inputs, SPEC: tl.constexpr):
    """The inputs of each layer, as a tuple that begins with `inputs`, and the logits [N]."""
    last: tl.constexpr = SPEC.num_layers - 1
    activations = (inputs,)
    for layer in tl.static_range(last):
        hidden = tl.dot(weights[layer], activations[layer], input_precision=SPEC.precision, out_dtype=inputs.dtype)
        hidden += biases[layer][:, None]
        # a comparison that preserves NaN
        activations = activations + (tl.where(hidden < 0, 0.0, hidden),)
    logits = tl.sum(weights[last][:, None] * activations[last], axis=0) + biases[last]
    return activations, logits


@triton.jit
def backward(weights, activations, grad_logits, SPEC: tl.constexpr):
    """Gradients of the results of the layers before the ReLU: a tuple of [16, N] for all layers but the last."""
    last: tl.constexpr = SPEC.num_layers - 1
    grads = ()
    for behind in tl.static_range(last):
        if behind == 0:
            grad = weights[last][:, None] * grad_logits[None, :]
        else:
            grad = _times_transposed(weights[last - behind], grads[0], SPEC)
        grads = (tl.where(activations[last - behind] <= 0, 0.0, grad),) + grads
    return grads


@triton.jit
def grad_of_inputs(weights, grads, grad_logits, SPEC: tl.constexpr):
    """Gradient of the input [in_padded, N]; `grads` come from `backward`."""
    if SPEC.num_layers == 1:
        grad = weights[0][:, None] * grad_logits[None, :]
    else:
        grad = _times_transposed(weights[0], grads[0], SPEC)
    return grad


@triton.jit
def _times_transposed(weight, grad, SPEC: tl.constexpr):
    return tl.dot(tl.trans(weight), grad, input_precision=SPEC.precision, out_dtype=grad.dtype)


@triton.jit
def zero_gradients(weights, biases, SPEC: tl.constexpr):
    """Zeros of the shapes of all weights and biases."""
    num_layers: tl.constexpr = SPEC.num_layers
    grad_weights = ()
    grad_biases = ()
    for layer in tl.static_range(num_layers):
        grad_weights = grad_weights + (tl.zeros_like(weights[layer]),)
        grad_biases = grad_biases + (tl.zeros_like(biases[layer]),)
    return grad_weights, grad_biases


@triton.jit
def add_gradients(grad_weights, grad_biases, activations, grads, grad_logits, SPEC: tl.constexpr):
    """Adds the gradients of weights and biases, summed over the block; `grads` come from `backward`."""
    last: tl.constexpr = SPEC.num_layers - 1
    weights = ()
    biases = ()
    for layer in tl.static_range(last):
        inputs = tl.trans(activations[layer])
        product = tl.dot(grads[layer], inputs, input_precision=SPEC.precision, out_dtype=grad_logits.dtype)
        weights = weights + (grad_weights[layer] + product,)
        biases = biases + (grad_biases[layer] + tl.sum(grads[layer], axis=1),)
    weights = weights + (grad_weights[last] + tl.sum(activations[last] * grad_logits[None, :], axis=1),)
    biases = biases + (grad_biases[last] + tl.sum(grad_logits, axis=0),)
    return weights, biases
