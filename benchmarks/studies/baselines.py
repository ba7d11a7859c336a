"""What others compute with, beside the mask heads of `condinst.benchmarking.mask_head_baselines`.

The tests compare their results with those of our operators, and the benchmarks compare the times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from condinst.benchmarking.mask_head_baselines import CHUNK_SIZE, chunk_logits, grouped_convolution, logits_in_chunks
from condinst.geometry import pixel_locations
from condinst.ops.aligned_bilinear.reference import aligned_bilinear
from condinst.ops.dice_loss.reference import dice_loss


def grouped_convolution_loss(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    target_masks: Tensor,
    target_indices: Tensor,
) -> Tensor:
    """The published training step: masks by `grouped_convolution`, targets copied for each instance, dice loss."""
    logits = grouped_convolution(mask_features, params, locations, image_indices, sizes_of_interest)
    return dice_loss(logits.sigmoid(), target_masks[target_indices])


def chunked_matmul_loss(
    mask_features: Tensor,
    params: Tensor,
    locations: Tensor,
    image_indices: Tensor,
    sizes_of_interest: Tensor,
    target_masks: Tensor,
    target_indices: Tensor,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> Tensor:
    """The mean dice loss of `chunked_matmul`'s masks, made a chunk at a time; autograd keeps what each chunk made."""
    order = image_indices.argsort(stable=True)
    chunks = logits_in_chunks(
        mask_features,
        params[order],
        locations[order],
        image_indices,
        sizes_of_interest[order],
        feature_stride=8,
        num_layers=3,
        channels=8,
        upsample_factor=2,
        chunk_size=chunk_size,
        network=chunk_logits,
    )
    targets = target_indices[order]
    losses = [dice_loss(part.sigmoid(), target_masks[targets[some]], reduction="none") for some, part in chunks]
    return torch.cat(losses).mean()


def eager_detections(
    class_logits: Tensor,
    centerness_logits: Tensor,
    box_distances: Tensor,
    *,
    level_sizes: list[tuple[int, int]],
    strides: tuple[int, ...],
    score_threshold: float,
    top_k: int,
    iou_threshold: float,
    max_detections: int,
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """AdelaiDet's way from predictions to detections (numerics 1.10), as PyTorch calls whose sizes depend on values.

    Args:
        class_logits, centerness_logits, box_distances, level_sizes, strides: see `condinst.ops.decode_detections`.
        score_threshold, top_k: see there; the product of the probabilities is tested.
        iou_threshold: of the suppression.
        max_detections: of an image, and those that tie with the last one.

    Returns:
        For each image boxes [n, 4], scores [n], labels [n] and location indices [n], by falling score.
    """
    products = class_logits.sigmoid() * centerness_logits.sigmoid()[:, :, None]  # [B, L, C]
    points = torch.cat(
        [pixel_locations(*size, stride, class_logits.device) for size, stride in zip(level_sizes, strides, strict=True)]
    )  # [L, 2]
    counts = [height * width for height, width in level_sizes]
    distances = [part * stride for part, stride in zip(box_distances.split(counts, dim=1), strides, strict=True)]
    sides = torch.cat(distances, dim=1)  # [B, L, 4] in pixels
    detections = []
    for image in range(class_logits.shape[0]):
        locations, labels, scores = [], [], []
        first = 0
        for level in products[image].split(counts):  # [cells, C]
            cell, label = (level > score_threshold**2).nonzero(as_tuple=True)  # [n], [n]
            product = level[cell, label]  # [n]
            if product.shape[0] > top_k:
                product, best = product.topk(top_k, sorted=False)
                cell, label = cell[best], label[best]
            locations.append(first + cell)
            labels.append(label)
            scores.append(product.sqrt())
            first += level.shape[0]
        location, label, score = torch.cat(locations), torch.cat(labels), torch.cat(scores)
        side, point = sides[image, location], points[location]
        boxes = torch.cat([point - side[:, :2], point + side[:, 2:]], dim=1)  # [n, 4]
        kept = batched_nms(boxes, score, label, iou_threshold)
        if kept.shape[0] > max_detections:
            least = score[kept].cpu().kthvalue(kept.shape[0] - max_detections + 1).values.item()
            kept = kept[score[kept] >= least]
        detections.append((boxes[kept], score[kept], label[kept], location[kept]))
    return detections


def eager_rles(
    mask_logits: Tensor,
    *,
    mask_stride: int,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """AdelaiDet's way to run lengths: all masks at image size as floats, then pycocotools."""
    fine = aligned_bilinear(mask_logits.sigmoid(), mask_stride)[:, : network_size[0], : network_size[1]]
    fine = F.interpolate(fine[:, None], size=output_size, mode="bilinear", align_corners=False)[:, 0]
    masks = (fine > threshold).float()  # [K, H, W]
    return [coco_mask.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8))) for mask in masks]
