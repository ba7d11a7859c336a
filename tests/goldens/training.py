"""The recorded training steps of AdelaiDet, taken again."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from condinst import CondInst, ops
from condinst.models.checkpoints.adelaidet import rename_key
from condinst.models.network import make_locations

Golden = dict[str, np.ndarray]

TRAININGS: dict[str, dict[str, Any]] = {
    "r50_train_all": {"mask_loss_locations": "all"},
    "r50_train_top64": {"mask_loss_locations": "top", "mask_loss_top_per_image": 24},
    "r50_sem_train": {"mask_loss_locations": "all"},
}
"""The recordings, and what the config of each has that a checkpoint does not tell."""

SMALLEST_NORM = 1e-9
"""What a norm is divided by if it is smaller: the scales of levels without objects have no gradient."""


class TrainingStep(NamedTuple):
    """What one step gives.

    Args:
        losses: by our names.
        gradients: of all trained parameters, by our names, in the order of the recording.
    """

    losses: dict[str, float]
    gradients: dict[str, Tensor]


def take_step(model: CondInst, golden: Golden) -> TrainingStep:
    """Losses and gradients of a model made by `load_recorded`, with the mask loss on the recorded locations."""
    images, targets = training_inputs(golden)
    image, location, num_locations = recorded_mask_locations(golden, model)
    selected = torch.zeros(len(images), num_locations, dtype=torch.bool, device=model.device)
    selected[image, location] = True
    model.zero_grad()
    with mock.patch.object(ops, "select_top_locations", return_value=selected):
        losses = model.train()(images, targets, resize=False)
    torch.stack(list(losses.values())).sum().backward()
    parameters = dict(model.named_parameters())
    names = [str(rename_key(str(key), model.config)) for key in golden["grad_names"]]
    assert set(names) == {key for key, parameter in parameters.items() if parameter.requires_grad}
    gradients = {}
    for name in names:
        gradient = parameters[name].grad
        assert gradient is not None, name
        gradients[name] = gradient.clone()
    return TrainingStep({key: value.item() for key, value in losses.items()}, gradients)


def deviations_of_norms(step: TrainingStep, golden: Golden) -> np.ndarray:
    """[P] of each gradient: how far its norm is from the recorded one, relative to that."""
    recorded = golden["grad_norms"]
    norms = np.array([gradient.double().norm().item() for gradient in step.gradients.values()])
    return np.abs(norms - recorded) / np.maximum(recorded, SMALLEST_NORM)


def deviations(step: TrainingStep, expected: TrainingStep) -> np.ndarray:
    """[P] of each gradient: the norm of its difference from another one, relative to that one's."""
    found = []
    for name, gradient in expected.gradients.items():
        difference = (step.gradients[name].to(gradient) - gradient).double().norm().item()
        found.append(difference / max(gradient.double().norm().item(), SMALLEST_NORM))
    return np.array(found)


def training_inputs(golden: Golden) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The two images of a recorded step, and their targets."""
    images = [torch.from_numpy(golden[f"image_rgb.{index}"]) for index in range(2)]
    targets = []
    for index, image in enumerate(images):
        masks = np.unpackbits(golden[f"gt_masks_packed.{index}"], axis=-1, count=image.shape[2])
        targets.append(
            {
                "boxes": torch.from_numpy(golden[f"gt_boxes.{index}"]),
                "labels": torch.from_numpy(golden[f"gt_labels.{index}"]),
                "masks": torch.from_numpy(masks).bool(),
            }
        )
    return images, targets


def recorded_mask_locations(golden: Golden, model: CondInst) -> tuple[Tensor, Tensor, int]:
    """The images [M] and locations [M] that fed the mask loss of a recorded step, and how many locations there are."""
    images, _ = training_inputs(golden)
    divisor = model.config.size_divisibility
    height, width = (-(-max(image.shape[axis] for image in images) // divisor) * divisor for axis in (1, 2))
    level_sizes = [(-(-height // stride), -(-width // stride)) for stride in model.config.strides]
    points = make_locations(level_sizes, model.config, torch.device("cpu")).points.tolist()
    index = {tuple(point): location for location, point in enumerate(points)}
    locations = [index[tuple(point)] for point in golden["mask_positives.locations"].tolist()]
    return torch.from_numpy(golden["mask_positives.im_inds"]), torch.tensor(locations), len(points)
