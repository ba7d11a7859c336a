"""`dynamic_mask_head` by Triton kernels."""

from __future__ import annotations

from torch import Tensor

from condinst.backends.launch import kernels, launch
from condinst.backends.triton import define
from condinst.ops.common.mask_network_triton import LAUNCH, OPTIONS, TENSORS, Arguments, prepare
from condinst.ops.common.mask_network_triton import unsupported_reason as unsupported_reason


def _forward(*arguments: *Arguments) -> Tensor:
    instances = prepare(*arguments)
    spec = instances.specialization
    _, height, width = instances.shape
    logits = arguments[0].new_empty(instances.num_instances, height * spec.factor, width * spec.factor)
    launch(
        kernels("dynamic_mask_head").dynamic_mask_head_forward,
        instances.num_instances * instances.num_tiles,
        instances.features,
        instances.params,
        instances.locations,
        instances.image_indices,
        instances.sizes,
        logits,
        instances.features.shape[0],
        *instances.shape,
        instances.stride,
        SPEC=spec,
        **LAUNCH,
    )
    return logits


def _backward(grad_logits: Tensor, *arguments: *Arguments) -> tuple[Tensor, Tensor]:
    instances = prepare(*arguments)
    spec = instances.specialization
    grad_logits = grad_logits.contiguous()
    partial = instances.params.new_empty(instances.num_instances, instances.num_chunks, spec.num_params)
    launch(
        kernels("dynamic_mask_head").dynamic_mask_head_grad_params,
        instances.num_instances * instances.num_chunks,
        grad_logits,
        instances.features,
        instances.params,
        instances.locations,
        instances.image_indices,
        instances.sizes,
        partial,
        instances.features.shape[0],
        *instances.shape,
        instances.stride,
        instances.num_chunks,
        SPEC=spec,
        **LAUNCH,
    )
    grad_features = instances.grad_features()
    if spec.num_features > 0:
        order, starts = instances.by_image()
        launch(
            kernels("dynamic_mask_head").dynamic_mask_head_grad_features,
            instances.features.shape[0] * instances.num_tiles,
            grad_logits,
            instances.features,
            instances.params,
            instances.locations,
            instances.sizes,
            order,
            starts,
            grad_features,
            *instances.shape,
            instances.stride,
            SPEC=spec,
            **LAUNCH,
        )
    dtype = arguments[0].dtype
    return grad_features.to(dtype), partial.sum(dim=1).to(dtype)


define(f"dynamic_mask_head({TENSORS}, {OPTIONS}) -> Tensor", _forward)
define(f"dynamic_mask_head_backward(Tensor grad_logits, {TENSORS}, {OPTIONS}) -> (Tensor, Tensor)", _backward)
