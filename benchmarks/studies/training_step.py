"""The study of a training step on two images, with our kernels and with the reference, and of its losses alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from condinst.backends import use_backend
from condinst.benchmarking.results import Row
from condinst.benchmarking.study import Limits, Progress, Setting, Study
from condinst.data.rles import encode_masks
from condinst.geometry import boxes_of_masks
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig
from condinst.models.heads import HeadOutputs
from condinst.models.network import NetworkOutputs, make_locations

KERNELS, REFERENCE = "kernels", "reference"
BACKENDS = {KERNELS: "auto", REFERENCE: "reference"}
"""What `use_backend` is given for each variant."""

WHOLE, LOSSES = "training step", "losses of a step"
RULES: dict[str, dict[str, Any]] = {
    "64 per image": {"mask_loss_locations": "top", "mask_loss_top_per_image": 64},
    "all positives": {"mask_loss_locations": "all"},
}
"""Which locations feed the mask loss, as fields of the config."""

SETTINGS = tuple((op, rule) for rule in RULES for op in (WHOLE, LOSSES))
"""What can be measured: the whole step or its losses alone, by a rule."""

Results = tuple[Tensor, ...]
"""The losses [4], then gradients where there are some."""

Step = Callable[[], Results]

OBJECTS = (24, 28)
"""Of the two images."""

SMALLEST_SIDE = 16
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-5, 0.9, 1e-4
"""AdelaiDet's in its first step: the weights, and so the work, stay nearly as they are."""

LARGEST_ERROR = 1e-4
"""Relative, of the Euclidean norm of the losses and of each gradient. Usual are 1e-7, with large maps 2e-6."""


def make_scene(
    size: tuple[int, int], num_classes: int, device: torch.device
) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Images of noise with ellipses for objects, their axes between 16 px and half the shorter side.

    Args:
        size: height and width of both images in pixels.
        num_classes: labels are drawn below it.
        device: of everything but the masks.

    Returns:
        uint8 images [3, H, W], and targets as our training data has them, with masks as run lengths.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")  # [H, W]
    largest = math.log(min(size) / 2 / SMALLEST_SIDE)
    images, targets = [], []
    for num_objects in OBJECTS:
        axes = SMALLEST_SIDE * torch.exp(torch.rand(num_objects, 2, generator=generator) * largest)
        places = torch.rand(num_objects, 2, generator=generator) * torch.tensor([width, height])
        angles = math.pi * torch.rand(num_objects, generator=generator)
        masks = torch.empty(num_objects, height, width, dtype=torch.bool)
        for mask, (a, b), (cx, cy), angle in zip(masks, axes.tolist(), places.tolist(), angles.tolist(), strict=True):
            along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
            across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
            mask.copy_((2 * along / a) ** 2 + (2 * across / b) ** 2 <= 1)
        images.append(torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8).to(device))
        labels = torch.randint(num_classes, (num_objects,), generator=generator)
        boxes = boxes_of_masks(masks)
        targets.append({"boxes": boxes.to(device), "labels": labels.to(device), "rles": encode_masks(masks)})
    return images, targets


def make_model(config: CondInstConfig, device: torch.device) -> CondInst:
    """A model in training mode, always with the same random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CondInst(config).train().to(device)


class RecordedNetwork(CondInst):
    """A model that gives recorded outputs in place of its network's, as leaves that take gradients.

    Args:
        config: of the model, without a semantic branch.
        path: a file that `record_outputs` wrote.
        device: of the model and the outputs.
    """

    def __init__(self, config: CondInstConfig, path: Path, device: torch.device) -> None:
        super().__init__(config)
        self.train().to(device)
        recorded = torch.load(path, map_location=device, weights_only=True)
        self.level_sizes: list[tuple[int, int]] = recorded.pop("level_sizes")
        self.leaves: dict[str, Tensor] = {name: value.requires_grad_() for name, value in recorded.items()}

    def network(self, pixels: Tensor) -> NetworkOutputs:
        """The recorded outputs, whatever the batch is; without the pyramid."""
        outputs = dict(self.leaves)
        mask_features = outputs.pop("mask_features")
        head = HeadOutputs(**outputs, level_sizes=self.level_sizes)
        return NetworkOutputs(
            head, make_locations(head.level_sizes, self.config, pixels.device), mask_features, pyramid={}
        )


def record_outputs(config: CondInstConfig, size: tuple[int, int], device: torch.device, path: Path) -> None:
    """Write what the network gives for the scene to a file, for `RecordedNetwork`."""
    model = make_model(config, device)
    batch = model.preprocess(*make_scene(size, config.num_classes, device), resize=False)
    with torch.no_grad():
        outputs = model.network(batch.pixels)
    torch.save({**vars(outputs.head), "mask_features": outputs.mask_features}, path)


def step_call(config: CondInstConfig, size: tuple[int, int], device: torch.device, variant: str) -> Step:
    """A step from images and targets to new weights; the call returns the losses."""
    model = make_model(config, device)
    images, targets = make_scene(size, config.num_classes, device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def call() -> Results:
        with use_backend(BACKENDS[variant]):
            losses = torch.stack(list(model(images, targets, resize=False).values()))
            losses.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return (losses.detach(),)

    return call


def losses_call(config: CondInstConfig, size: tuple[int, int], device: torch.device, path: Path, variant: str) -> Step:
    """A step without its network; the call returns the losses and their gradients for the network's outputs."""
    model = RecordedNetwork(config, path, device)
    images, targets = make_scene(size, config.num_classes, device)
    leaves = list(model.leaves.values())

    def call() -> Results:
        with use_backend(BACKENDS[variant]):
            losses = torch.stack(list(model(images, targets, resize=False).values()))
            return losses.detach(), *torch.autograd.grad(losses.sum(), leaves)

    return call


def check_results(expected: Results, variant: str, results: object) -> None:
    """Raise AssertionError unless losses, and gradients where there are some, agree with the reference's."""
    assert isinstance(results, tuple) and len(results) == len(expected)
    assert bool(results[0].isfinite().all()), f"{variant}: losses {results[0].tolist()}"
    for index, (actual, wanted) in enumerate(zip(results, expected, strict=True)):
        error = ((actual.double() - wanted.double()).norm() / wanted.double().norm()).item()
        what = f"{variant}, gradient {index}" if index else f"{variant}, losses"
        assert error <= LARGEST_ERROR, f"{what}: relative error {error:.2g}, expected at most {LARGEST_ERROR}"


def measure_training_step(
    device: torch.device,
    config: CondInstConfig,
    *,
    settings: Collection[tuple[str, str]] = SETTINGS,
    size: tuple[int, int] = (800, 1088),
    rounds: int = 3,
    rounds_of_losses: int = 9,
    progress: Progress = lambda _: None,
) -> list[Row]:
    """Time and memory of a step and of its losses alone, by the locations that feed the mask loss.

    The losses alone are all of the step but the network and the optimizer: the batch and its targets, the losses, and
    their gradients for the outputs of the network. The floor counts the multiply-adds of convolutions and matrix
    products in the reference, forward and backward.

    Args:
        device: where to compute.
        config: of the model; how its mask loss is fed is what varies.
        settings: some of `SETTINGS`.
        size: height and width of both images in pixels.
        rounds: timings of each variant of the step.
        rounds_of_losses: the same of the losses alone.
        progress: called with what is done next.

    Raises:
        ValueError: a variant gives other losses or gradients than the reference.
    """
    no_limits = Limits(math.inf, math.inf, math.inf)
    studies = {
        op: Study(op, "training", REFERENCE, device, rounds=number, limits=no_limits, progress=progress)
        for op, number in ((WHOLE, rounds), (LOSSES, rounds_of_losses))
        if any(op == chosen for chosen, _ in settings)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.pt"
        record_outputs(config, size, device, path)
        for rule, fields in RULES.items():
            if not any(rule == chosen for _, chosen in settings):
                continue
            of_rule = config.replace(**fields)
            count = _num_locations(of_rule, size, device, path)
            make_calls: dict[str, Callable[[str], Step]] = {
                WHOLE: partial(step_call, of_rule, size, device),
                LOSSES: partial(losses_call, of_rule, size, device, path),
            }
            for op, study in studies.items():
                if (op, rule) not in settings:
                    continue
                progress(f"{op}: {rule}: results of the reference")
                with FlopCounterMode(display=False) as counter:
                    expected = make_calls[op](REFERENCE)()
                multiply_adds = counter.get_total_flops() // 2
                sample = f"{rule}: {count} locations"
                setting = Setting(op, sample, count, multiply_adds, None, measure_resident=True)
                study.measure(setting, [REFERENCE, KERNELS], make_calls[op], partial(check_results, expected))
    return [row for study in studies.values() for row in study.rows]


def _num_locations(config: CondInstConfig, size: tuple[int, int], device: torch.device, path: Path) -> int:
    """The number of locations that feed the mask loss."""
    model = RecordedNetwork(config, path, device)
    batch = model.preprocess(*make_scene(size, config.num_classes, device), resize=False)
    assert batch.targets is not None
    return len(model.detection_loss(model.network(batch.pixels).head, batch.targets)[1].object_indices)
