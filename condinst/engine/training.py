"""The training loop on Lightning Fabric: annotated images in, weights out."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor

from condinst.data.annotated import AnnotatedImages
from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.data.transforms import TrainingTransform
from condinst.distributed import mean_over_processes
from condinst.files import write_json
from condinst.models.checkpoints import save_checkpoint
from condinst.models.condinst import CondInst
from condinst.visualization import can_draw_curves, save_learning_curves

from .config import TrainingConfig
from .interruption import Interruption
from .loader import TRIES, Sample, SampleStream, aspect_groups, make_loader
from .log import TrainingLog
from .optimization import learning_rate_factor, make_average, make_optimizer
from .precision import choose_training_precision
from .training_state import TrainingState, read_checkpoint
from .validation import Validation, check_classes, make_validation

_logger = logging.getLogger(__name__)


def train(
    model: CondInst,
    config: TrainingConfig,
    data: CocoInstances | CocoPanoptic,
    out_dir: str | Path,
    *,
    validation: CocoInstances | CocoPanoptic | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Trains a model and writes its weights.

    `out_dir` gets `training.json` (all settings, and the precision that was chosen), `log.csv` and `validation.csv`,
    TensorBoard's events, `last.pt` (a resumable checkpoint, replaced atomically), `best.safetensors` (the weights with
    the best mask AP, or PQ, on as many images) and, at the end, `model.safetensors` and `curves.png` (with matplotlib).
    An image or annotation that cannot be read is named in the log, counted, and another image takes its place.

    Started by ``torchrun``, the processes share each batch (DDP) and the validation. Losses are normalised over all of
    them, so that several processes train as one with the whole batch does, norms with batch statistics aside.

    Args:
        model: what is trained, initialised by the caller (after `torch.manual_seed`, to make a run repeatable).
        config: how.
        data: the training images; its categories must be the model's classes. A panoptic model needs panoptic data,
            any other takes the things of such data as well.
        out_dir: folder for the results, made where it is missing.
        validation: images for average precision, or panoptic quality, on the way and at the end.
        device: where to train; under ``torchrun`` its kind counts.
        resume: go on from `last.pt` in `out_dir`. The run is then the same, bit for bit in one process on the CPU, as
            one that was never interrupted. `steps` and the schedule may be other ones than before; `precision`, too,
            while "auto" keeps that of the checkpoint.
        progress: show a progress bar or lines.

    Returns:
        The path of the weights.

    Raises:
        ValueError: when the classes of data and model differ in number, there is nothing to train on, the validation
            has other categories, a bad annotation or results that the model does not give, or too many images cannot
            be read; when the device cannot train in `config.precision`, or that is "auto" and the device would have to
            emulate the precision of the run that is resumed.
        FileExistsError: when `out_dir` holds a run and `resume` is False.
        FloatingPointError: when a loss is not finite; the message names the images. `last.pt` stays as it was.
        KeyboardInterrupt: after Ctrl-C (or SIGTERM) and the step that was running; `last.pt` is written before.
    """
    out = Path(out_dir)
    checkpoint = out / "last.pt"
    _check(model, data, checkpoint, resume)
    measured = None if validation is None else make_validation(validation, data, model.config)
    content = read_checkpoint(checkpoint) if resume else None
    precision = choose_training_precision(config.precision, torch.device(device), checkpoint, content)
    fabric = _make_fabric(torch.device(device), precision.name)
    fabric.launch()
    is_first = fabric.is_global_zero
    out.mkdir(parents=True, exist_ok=True)

    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    plain_optimizer = make_optimizer(
        model,
        config.optimizer,
        learning_rate=config.scaled_learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    student, optimizer = fabric.setup(model.train(), plain_optimizer)
    average = make_average(model, config.ema_decay) if config.ema_decay else None
    state = TrainingState(model, plain_optimizer, average, fabric.strategy.precision)
    if content is not None:
        state.load(checkpoint, content)
        content = None  # a copy of the weights and the optimizer's state
    if not resume or fabric.global_rank > 0:  # the checkpoint has the random numbers of the first process
        torch.manual_seed(config.seed + 1_000_003 * state.step * fabric.global_rank + fabric.global_rank)
    if is_first:
        settings = {"model": json.loads(model.config.to_json()), "training": dataclasses.asdict(config)}
        settings |= {"data": str(data.annotations), "processes": fabric.world_size}
        settings |= {"precision": dataclasses.asdict(precision)}
        write_json(out / "training.json", settings)
        _logger.info("precision %s: %s", precision.name, precision.reason)
        if precision.warning:
            _logger.warning("precision: %s", precision.warning)
        if progress:
            _tell_plan(config, data, fabric)

    loader = make_loader(
        SampleStream(data, _make_transform(model, config), config.seed),
        groups=aspect_groups(data) if config.group_by_aspect_ratio and not config.crop_size else [0] * len(data),
        batch_size=config.batch_size,
        steps=range(state.step, config.steps),
        accumulate=config.accumulate,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        workers=config.num_workers,
        pin_memory=fabric.device.type == "cuda",
    )
    log = TrainingLog(
        out if is_first else None,
        step=state.step,
        steps=config.steps,
        log_every=config.log_every,
        device=fabric.device,
        progress=progress,
    )
    # A GPU works on the newest step while the one before it is told.
    delay = 0 if fabric.device.type == "cpu" else 1
    queued: deque[_Step] = deque()
    end = config.steps
    saved_at = time.monotonic()
    with Interruption() as interruption, log:
        batches = iter(loader)
        while state.step < end:
            queued.append(_step(fabric, student, optimizer, batches, config, state, interruption))
            if average is not None:
                average.update_parameters(model)
            state.step += 1
            validates = measured is not None and config.validate_every and state.step % config.validate_every == 0
            saves = time.monotonic() - saved_at >= 60 * config.checkpoint_minutes
            while len(queued) > (0 if validates or saves or state.step == end else delay):
                told = queued.popleft()
                if _tell(told, state, log):
                    # a fixed number of steps later, so that all processes end at the same one
                    end = min(end, told.number + delay)
            is_last = state.step >= end
            if measured is not None and validates and not is_last:
                try:
                    _validate(state, measured, config.validation_images, fabric, out, log)
                except Exception:
                    if is_first:  # the steps that are done must not be lost with it
                        _save(state, checkpoint, must=False)
                    raise
            if is_first and (saves or is_last):
                _save(state, checkpoint, must=is_last)
                saved_at = time.monotonic()
        if end < config.steps:
            raise KeyboardInterrupt
        weights = out / "model.safetensors"
        if is_first:
            save_checkpoint(state.result, weights, half=True)
        if measured is not None:
            _validate(state, measured, 0, fabric, out, log)
        if is_first and can_draw_curves():
            try:
                save_learning_curves({out.name: out}, out / "curves.png")
            except (OSError, ValueError) as error:  # the weights are what counts
                _logger.error("curves.png could not be drawn: %s", error)
        fabric.barrier()
    return weights


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step that the device may still be working on."""

    number: int  # from 1
    names: list[str]
    losses: Tensor  # [len(names) + 1] float32, means over the parts and the processes; last, who asked for the end
    paths: list[str]
    waited: float
    lr: float


def _check(model: CondInst, data: AnnotatedImages, checkpoint: Path, resume: bool) -> None:
    check_classes(data, model.config)
    if not len(data):
        raise ValueError(f"{data.annotations}: expected at least one image to train on, got none")
    if not data.num_annotations:
        raise ValueError(f"{data.annotations}: expected at least one annotation to train on, got none")
    if checkpoint.exists() and not resume:
        raise FileExistsError(f"{checkpoint} is from an earlier run: resume it or choose another folder")


def _make_fabric(device: torch.device, precision: str) -> Fabric:
    """One process, or those that torchrun has started."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", 1)) // processes
    several = processes * nodes > 1
    one = [device.index or 0] if device.type == "cuda" else 1
    mixed = precision != "32-true"
    return Fabric(
        accelerator=device.type,
        devices=processes if several else one,
        num_nodes=nodes,
        strategy="ddp" if several else "auto",
        precision=None if mixed else "32-true",
        plugins=_MixedPrecision(precision, device.type) if mixed else None,  # type: ignore[arg-type]
    )


class _MixedPrecision(MixedPrecision):
    """Fabric's autocast and scaling of gradients, but what the model is given stays as it is: boxes need all bits."""

    def convert_input(self, data: Any) -> Any:
        return data


def _make_transform(model: CondInst, config: TrainingConfig) -> TrainingTransform:
    return TrainingTransform(
        config,
        min_size_test=model.config.min_size_test,
        max_size_test=model.config.max_size_test,
        min_size_train=model.config.min_size_train,
        max_size_train=model.config.max_size_train,
    )


def _tell_plan(config: TrainingConfig, data: AnnotatedImages, fabric: Fabric) -> None:
    scaled = ""
    if config.scaled_learning_rate != config.learning_rate:
        scaled = f" ({config.learning_rate:g} for {config.base_batch_size} images, scaled to {config.batch_size})"
    _logger.info(
        "%d steps of %d images (%.1f epochs of %d images) on %d x %s, %s; learning rate %g%s",
        config.steps,
        config.batch_size,
        config.steps * config.batch_size / len(data),
        len(data),
        fabric.world_size,
        fabric.device.type,
        fabric.strategy.precision.precision,
        config.scaled_learning_rate,
        scaled,
    )


def _step(
    fabric: Fabric,
    student: Any,
    optimizer: Any,
    batches: Iterator[list[Sample]],
    config: TrainingConfig,
    state: TrainingState,
    interruption: Interruption,
) -> _Step:
    """One optimizer step."""
    lr = config.scaled_learning_rate * learning_rate_factor(
        state.step,
        steps=config.steps,
        schedule=config.schedule,
        milestones=config.milestones,
        warmup_steps=config.warmup_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    names: list[str] = []
    values: list[Tensor] = []
    paths: list[str] = []
    waited = 0.0
    for part in range(config.accumulate):
        start = time.monotonic()
        samples = next(batches)
        waited += time.monotonic() - start
        images = [_image_of(sample, state) for sample in samples]
        with fabric.no_backward_sync(student, enabled=part < config.accumulate - 1):
            losses: dict[str, Tensor] = student(
                [image.to(fabric.device, non_blocking=True) for image in images],
                [sample.target for sample in samples],
                resize=False,
            )
            stacked = torch.stack([loss.float() for loss in losses.values()])
            fabric.backward(stacked.sum() / config.accumulate)
        names = list(losses)
        values.append(stacked.detach())
        paths += [sample.path for sample in samples]
    if config.clip_gradient_norm:
        fabric.clip_gradients(student, optimizer, max_norm=config.clip_gradient_norm, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    means = torch.stack(values).mean(dim=0)
    means = mean_over_processes(torch.cat([means, means.new_full((1,), float(interruption.asked))]))
    return _Step(state.step + 1, names, means, paths, waited, lr)


def _image_of(sample: Sample, state: TrainingState) -> Tensor:
    """The image of a sample; files that could not be read are named once."""
    for path, problem in sample.problems:
        if path not in state.unreadable:
            state.unreadable.append(path)
            _logger.warning("skipped: %s", problem)
    if sample.image is None:
        raise ValueError(f"no image could be read in {len(sample.problems)} of {TRIES} tries; {sample.problems[-1][1]}")
    return sample.image


def _tell(step: _Step, state: TrainingState, log: TrainingLog) -> bool:
    """Logs a step's losses, or stops the run when one is not finite. Returns whether a process was asked to end."""
    *values, asked = step.losses.tolist()
    losses = dict(zip(step.names, values, strict=True))
    if not all(map(math.isfinite, values)):
        raise FloatingPointError(
            f"step {step.number}: a loss is not finite: {losses}; the images: {', '.join(step.paths)}"
        )
    log.add(
        step.number,
        losses,
        images=len(step.paths),
        waited=step.waited,
        lr=step.lr,
        unreadable=len(state.unreadable),
    )
    return asked > 0


def _save(state: TrainingState, checkpoint: Path, *, must: bool) -> None:
    """Writes a checkpoint. On the way a failure is only told: the disk may have room again the next time."""
    if not all(parameter.isfinite().all() for parameter in state.model.parameters()):
        raise FloatingPointError(f"step {state.step}: a weight is not finite; {checkpoint} is the one before, if any")
    try:
        state.save(checkpoint)
    except OSError as error:
        if must:
            raise
        _logger.error("%s", error)


def _validate(
    state: TrainingState, validation: Validation, images: int, fabric: Fabric, out: Path, log: TrainingLog
) -> None:
    start = time.monotonic()
    model = state.result
    if fabric.world_size > 1:  # each process has its own statistics of batches; what is saved are those of the first
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
    row = validation.scores(model, images, fabric.device)
    count = images or len(validation.data)
    log.validation(state.step, {**row, "images": count, "seconds": time.monotonic() - start})
    score = row[validation.measure]
    score = -1.0 if math.isnan(score) else score  # of images without anything that counts
    if count == state.best_images and score <= state.best_score:
        return
    state.best_images, state.best_score = count, score  # a score on other images is no measure
    if fabric.is_global_zero:
        try:
            save_checkpoint(model, out / "best.safetensors", half=True)
        except OSError as error:
            _logger.error("best.safetensors could not be written: %s", error)
