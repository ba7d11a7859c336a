"""`dynamic_mask_loss` by Triton kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from condinst.backends.launch import as_bytes, kernels, launch
from condinst.backends.triton import define
from condinst.ops.common.dice_triton import losses_from_partial_sums
from condinst.ops.common.mask_network_triton import LAUNCH, OPTIONS, TENSORS, Instances, prepare
from condinst.ops.common.mask_network_triton import unsupported_reason as unsupported_reason


def _prepare(arguments: tuple[Any, ...]) -> tuple[Instances, Tensor, Tensor]:
    """Instances, targets as bytes and target indices, from the tensors and options of the operator.

    An instance whose target index is out of range gets an image index that is out of range, which the kernels check.
    """
    features, params, locations, image_indices, sizes, target_masks, target_indices, *options = arguments
    real = (target_indices >= 0) & (target_indices < target_masks.shape[0])
    image_indices = image_indices.where(real, -1)
    instances = prepare(features, params, locations, image_indices, sizes, *options)
    return instances, as_bytes(target_masks), target_indices.contiguous()


def _forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    *arguments_without_eps, eps = arguments
    instances, target_masks, target_indices = _prepare(tuple(arguments_without_eps))
    partial = instances.params.new_empty(instances.num_instances, instances.num_chunks, 2)
    launch(
        kernels("dynamic_mask_loss").dynamic_mask_loss_sums,
        instances.num_instances * instances.num_chunks,
        instances.features,
        instances.params,
        instances.locations,
        instances.image_indices,
        instances.sizes,
        target_masks,
        target_indices,
        partial,
        instances.features.shape[0],
        *instances.shape,
        instances.stride,
        instances.num_chunks,
        SPEC=instances.specialization,
        **LAUNCH,
    )
    return losses_from_partial_sums(partial, eps)


def _backward(grad_losses: Tensor, sums: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    instances, target_masks, target_indices = _prepare(arguments)
    spec = instances.specialization
    grad_losses, sums = grad_losses.contiguous(), sums.contiguous()
    partial = instances.params.new_empty(instances.num_instances, instances.num_chunks, spec.num_params)
    launch(
        kernels("dynamic_mask_loss").dynamic_mask_loss_grad_params,
        instances.num_instances * instances.num_chunks,
        grad_losses,
        sums,
        instances.features,
        instances.params,
        instances.locations,
        instances.image_indices,
        instances.sizes,
        target_masks,
        target_indices,
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
            kernels("dynamic_mask_loss").dynamic_mask_loss_grad_features,
            instances.features.shape[0] * instances.num_tiles,
            grad_losses,
            sums,
            instances.features,
            instances.params,
            instances.locations,
            instances.sizes,
            target_masks,
            target_indices,
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


TARGETS = "Tensor target_masks, Tensor target_indices"
define(
    f"dynamic_mask_loss({TENSORS}, {TARGETS}, {OPTIONS}, float eps) -> (Tensor losses, Tensor sums)",
    _forward,
)
define(
    f"dynamic_mask_loss_backward(Tensor grad_losses, Tensor sums, {TENSORS}, {TARGETS}, {OPTIONS}) -> (Tensor, Tensor)",
    _backward,
)
