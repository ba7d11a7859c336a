"""The inputs, activations and masks of the generated filters of one instance (section 4.4 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from condinst.ops.common.mask_network import MaskHeadShape

from .. import ops
from ..data.images import ImageSource, read_image
from ..data.resize import network_size, resize_image
from ..geometry import pixel_locations
from .eval_view import eval_view
from .results import drop_invisible

if TYPE_CHECKING:
    from .condinst import CondInst

INPUTS = ("coordinates", "features", "both")
"""The inputs of the first layer in each of the three runs; the channels that are left out are 0."""


@dataclass(eq=False)
class Explanation:
    """How the mask head of one instance computes its mask, all in pixels of the network input.

    Args:
        image: uint8 [3, H, W] RGB, the network input without padding.
        instance: rank of the instance by falling score, from 0.
        num_instances: the number of instances in the image.
        class_name: class name of the instance, or its label if the model has no names.
        score: reported score.
        box: float32 [4] (x1, y1, x2, y2); None from a model that detects instances without boxes.
        location: float32 [2] (x, y), the location that generated the filters.
        mask_stride: pixels per cell of `logits`.
        feature_stride: pixels per cell of `inputs` and `activations`.
        logits: float32 [3, h, w] mask logits of the padded image for each of `INPUTS`.
        inputs: float32 [2 + C, h', w'] inputs of the first layer: coordinates (x, y), then mask features.
        activations: float32 [channels, h', w'] of each layer, after its ReLU; of the last one [1, h', w'] logits.
    """

    image: Tensor
    instance: int
    num_instances: int
    class_name: str
    score: float
    box: Tensor | None
    location: Tensor
    mask_stride: int
    feature_stride: int
    logits: Tensor
    inputs: Tensor
    activations: list[Tensor]


def explain_instance(model: CondInst, image: ImageSource, instance: int = 0) -> Explanation:
    """Runs the mask head of one instance on coordinates only, on features only, and on both (Fig. 5).

    Args:
        model: in any mode, which is left alone.
        image: whatever `read_image` takes.
        instance: rank by falling score, from 0.

    Returns:
        An `Explanation` on the CPU.

    Raises:
        ValueError: an image that cannot be read, no such instance, or a mask head that lacks one of the two inputs.
    """
    config = model.config
    if config.mask_head_coordinates == "none" or not config.mask_head_features:
        raise ValueError(f"model: expected a mask head on coordinates and features to compare them, got {config.name}")
    pixels = read_image(image)
    size = network_size(pixels.shape[1], pixels.shape[2], config.min_size_test, config.max_size_test)
    pixels = resize_image(pixels, size)
    with torch.no_grad():
        view = eval_view(model)
        batch = view.preprocess([pixels], resize=False)
        detections = drop_invisible(view.detect(view.network(batch.pixels), batch), batch)
    count = int(detections.counts[0])
    if not 0 <= instance < count:
        instances = f"0..{count - 1}, the rank by score of {count}" if count else "an image with"
        raise ValueError(f"instance: expected {instances} instances found by {config.name}, got {instance}")

    index = detections.location_indices[0, instance]
    location = detections.locations.points[index]
    interest = detections.locations.sizes_of_interest[index]
    features = detections.mask_features[0].float()  # [C, h', w']
    height, width = features.shape[1:]
    shape = detections.mask_head
    points = pixel_locations(height, width, shape.feature_stride, features.device)
    distances = points if shape.coordinates == "absolute" else location - points
    coordinates = (distances / interest).T.reshape(2, height, width)
    both = torch.cat([coordinates, features])
    only_coordinates = torch.cat([coordinates, torch.zeros_like(features)])
    only_features = torch.cat([torch.zeros_like(coordinates), features])
    layers = _run_layers(
        torch.stack([only_coordinates, only_features, both]),
        detections.mask_head_params[0, index].float(),
        shape,
    )
    label = int(detections.labels[0, instance])
    return Explanation(
        image=pixels.cpu(),
        instance=instance,
        num_instances=count,
        class_name=config.classes.name(label),
        score=float(detections.scores[0, instance]),
        box=None if detections.boxes is None else detections.boxes[0, instance].cpu(),
        location=location.cpu(),
        mask_stride=config.mask_output_stride,
        feature_stride=shape.feature_stride,
        logits=ops.aligned_bilinear(layers[-1][:, 0], shape.upsample_factor).cpu(),
        inputs=both.cpu(),
        activations=[layer[INPUTS.index("both")].cpu() for layer in layers],
    )


def _run_layers(x: Tensor, params: Tensor, shape: MaskHeadShape) -> list[Tensor]:
    """The outputs of each layer of a mask head [P] on [N, C, H, W]: [N, channels, H, W], the last [N, 1, H, W]."""
    num_layers = shape.num_layers
    widths = [x.shape[1]] + [shape.channels] * (num_layers - 1) + [1]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))  # (out, in)
    parts = params.split([rows * columns for rows, columns in shapes] + widths[1:])
    outputs = []
    for layer, (rows, columns) in enumerate(shapes):
        x = F.conv2d(x, parts[layer].reshape(rows, columns, 1, 1), parts[num_layers + layer])
        if layer < num_layers - 1:
            x = x.relu()
        outputs.append(x)
    return outputs
