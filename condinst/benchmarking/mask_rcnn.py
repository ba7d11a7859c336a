"""The mask head of torchvision's Mask R-CNN, for comparison with the dynamic mask head."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import MultiScaleRoIAlign

from .timing import Call

NUM_CLASSES = 80
FPN_CHANNELS = 256
FPN_STRIDES = (4, 8, 16, 32)


def mask_rcnn_call(num_boxes: int, image_size: tuple[int, int], device: torch.device) -> Call:
    """A call that computes the masks of boxes on an image: RoIAlign on four FPN levels, 4 convolutions, deconvolution.

    The weights are random. The masks are [num_boxes, 1, 28, 28]; pasting them into the image is not included.

    Args:
        num_boxes: number of boxes, with sides between 16 px and half the image.
        image_size: height and width in pixels.
        device: device of all tensors.
    """
    generator = torch.Generator().manual_seed(num_boxes)
    height, width = image_size
    levels = {
        str(index): torch.randn(1, FPN_CHANNELS, -(-height // stride), -(-width // stride), generator=generator)
        for index, stride in enumerate(FPN_STRIDES)
    }
    features = {name: level.to(device) for name, level in levels.items()}
    extent = torch.tensor([width, height])
    sides = 16 + torch.rand(num_boxes, 2, generator=generator) * (extent / 2 - 16)
    corners = torch.rand(num_boxes, 2, generator=generator) * (extent - sides)
    boxes = [torch.cat([corners, corners + sides], dim=1).to(device)]
    labels = [torch.randint(NUM_CLASSES, (num_boxes,), generator=generator).to(device)]
    align = MultiScaleRoIAlign(list(features), output_size=14, sampling_ratio=2)
    heads = MaskRCNNHeads(FPN_CHANNELS, (FPN_CHANNELS,) * 4, 1).eval().to(device)
    predictor = MaskRCNNPredictor(FPN_CHANNELS, FPN_CHANNELS, NUM_CLASSES).eval().to(device)

    def masks() -> Tensor:
        with torch.no_grad():
            logits = predictor(heads(align(features, boxes, [image_size])))  # [K, 80, 28, 28]
            return maskrcnn_inference(logits, labels)[0]  # [K, 1, 28, 28]

    return masks
