"""A whole model with random weights: its size, its work, and a call of it that always finds as much."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision  # noqa: F401  (registers deform_conv2d)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from condinst import ops
from condinst.benchmarking.machine import about
from condinst.benchmarking.memory import allocator_peak_mib
from condinst.benchmarking.results import Row, make_rows
from condinst.benchmarking.study import Progress
from condinst.benchmarking.timing import clock_for, take_turns
from condinst.data.resize import network_size
from condinst.models.condinst import CondInst
from condinst.models.config import CondInstConfig
from condinst.models.config_files import load_config
from condinst.models.heads import HeadOutputs
from condinst.models.network import mask_head_shape
from condinst.ops.dynamic_mask_head.spec import mask_head_args

OP, STUDY = "whole model", "models"
"""What `measure_models` calls its rows."""

NUM_INSTANCES = 100
"""As many as COCO's evaluation takes of an image."""

NUM_CANDIDATES = 1000
"""Candidates above the threshold, as FCOS gives them for a full image."""

PHOTO, STREET = (480, 640), (1024, 2048)
"""Height and width of a usual image of COCO, and of those of Cityscapes."""


def input_size(config: CondInstConfig) -> tuple[int, int]:
    """Height and width of the padded input at the config's test size: (800, 1088) for the published models."""
    image = STREET if "cityscapes" in config.name else PHOTO
    return padded_size(config, network_size(*image, config.min_size_test, config.max_size_test))


def padded_size(config: CondInstConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width with the padding that the config asks for."""
    divisor = config.size_divisibility
    return -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor


def num_parameters(model: CondInst) -> int:
    """Numbers that are learned or could be: frozen ones count, running statistics do not."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(config: CondInstConfig, size: tuple[int, int]) -> int:
    """Multiply-adds of one image at inference: all convolutions, and the mask heads of 100 instances.

    Nothing is computed, the shapes are enough. Norms, interpolation and suppression do not count.

    Args:
        config: of the model.
        size: height and width of the input in pixels; it is padded as the config says.
    """
    height, width = padded_size(config, size)
    with torch.device("meta"):
        model, batch = CondInst(config).eval(), torch.empty(1, 3, height, width)
    deformable = {torch.ops.torchvision.deform_conv2d: _deformable_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=deformable) as counter:
        outputs = model.network(batch)
        if config.panoptic:
            model.semantic_logits(outputs)
    biases = config.mask_head_channels * (config.mask_head_layers - 1) + 1
    pixels = (height // config.mask_feature_stride) * (width // config.mask_feature_stride)
    return counter.get_total_flops() // 2 + NUM_INSTANCES * pixels * (config.num_mask_head_params - biases)


def _deformable_flops(input_shape: list[int], weight_shape: list[int], *_: Any, out_shape: list[int], **__: Any) -> int:
    """Two per multiply-add, as torch counts, and without those of the bilinear samples."""
    return 2 * math.prod(out_shape) * math.prod(weight_shape[1:])


def mask_head_call(model: CondInst, size: tuple[int, int]) -> Callable[[], Tensor]:
    """The dynamic mask heads of 100 instances on an input of this (height, width), and their sigmoid in place."""
    config, options = model.config, mask_head_shape(model.config).as_keywords()
    height, width = padded_size(config, size)
    cells = height // config.mask_feature_stride, width // config.mask_feature_stride
    channels = config.mask_feature_channels if config.mask_head_features else 0
    args = mask_head_args(
        torch.float32, model.device, NUM_INSTANCES, cells, options, num_images=1, feature_channels=channels
    )

    def call() -> Tensor:
        with torch.no_grad():
            return ops.dynamic_mask_head(*args, **options).sigmoid_()

    return call


def whole_model_call(model: CondInst, size: tuple[int, int]) -> Callable[[], list[dict[str, Any]]]:
    """The way from an image of noise to the run lengths of exactly 100 masks.

    How much a model with random weights finds is chance. So the scores and boxes of its head are replaced: 1000
    candidates at random places and of random classes, none of which suppresses another. All stages run, and
    suppression with `nms` "mask" compares the masks of 1000 candidates.

    Args:
        model: changed by the call: its detections are the planted ones from now on.
        size: height and width of the image in pixels; it is not resized, but made so large that it needs no padding,
            as a mask that lies in padding alone would not be found.

    Returns:
        What gives the result of `model` with `mask_format` "rle" and, of a panoptic one, the map of segments.
    """
    config = model.config
    model.config = config.replace(nms_threshold=1.0, max_detections=NUM_INSTANCES)
    model.head.register_forward_hook(lambda _, __, outputs: _plant(outputs))
    size = padded_size(config, size)
    noise = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = noise.to(model.device)
    return lambda: model([image], resize=False, mask_format="rle", panoptic=config.panoptic)


def _plant(outputs: HeadOutputs) -> HeadOutputs:
    """The same filters, with candidates that score between 0.5 and 0.7 and boxes of eight strides."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.full_like(outputs.class_logits, -20.0)
    flat = logits.view(-1)
    places = torch.randint(len(flat), (NUM_CANDIDATES,), generator=generator)
    flat[places.to(flat.device)] = 4 * torch.rand(NUM_CANDIDATES, generator=generator).to(flat)
    return dataclasses.replace(
        outputs,
        class_logits=logits,
        centerness_logits=torch.zeros_like(outputs.centerness_logits),
        box_distances=torch.full_like(outputs.box_distances, 4.0),
    )


def measure_models(
    device: torch.device, names: Iterable[str], *, rounds: int = 3, progress: Progress = lambda _: None
) -> list[Row]:
    """Time and memory of built-in models with random weights at their test sizes; all are held, and take turns.

    There is no floor: convolutions can do with fewer multiply-adds than `multiply_adds` counts.

    Args:
        device: where to compute.
        names: of configs.
        rounds: timings of each model.
        progress: called with what is done next.
    """
    run = about(device)
    calls, peaks = {}, {}
    for name in names:
        progress(f"{name}: first call and memory")
        config = load_config(name)
        calls[name] = whole_model_call(CondInst(config).to(device).eval(), input_size(config))
        peaks[name] = allocator_peak_mib(calls[name], device)
    progress("times")
    times = take_turns(calls, clock_for(device), rounds)
    rows: list[Row] = []
    for name in calls:
        rows += make_rows(
            {**run, "op": OP, "study": STUDY, "sample": name, "dtype": "float32", "direction": "forward"},
            {OP: times[name]},
            baseline=OP,
            floor_seconds=0.0,
            peaks_mib={OP: peaks[name]},
            resident_mib={},
            num_instances=NUM_INSTANCES,
        )
    return rows
