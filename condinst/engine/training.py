"""The training loop on Lightning Fabric: annotated images in, weights out."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from condinst.data.coco import CocoInstances
from condinst.data.panoptic import CocoPanoptic
from condinst.data.transforms import TrainingTransform
from condinst.distributed import mean_over_processes
from condinst.evaluation.evaluator import Evaluator, make_evaluator
from condinst.files import write_json
from condinst.models.checkpoints import save_checkpoint
from condinst.models.condinst import CondInst
from condinst.visualization import can_draw_curves, save_learning_curves

from .batches import next_batch, running_batches
from .config import TrainingConfig
from .delayed_losses import DelayedLosses, StepLosses
from .fabric import make_fabric
from .interruption import Interruption
from .loader import TRIES, Sample, SampleStream, aspect_groups, make_loader
from .log import TrainingLog
from .optimization import learning_rate_factor, make_average, make_optimizer
from .precision import choose_training_precision
from .run_files import CHECKPOINT, SETTINGS, check_run_folder
from .run_settings import describe_run
from .training_data import check_training_data
from .training_state import TrainingState, read_checkpoint

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
    """Trains a model and returns the path of its weights: `Trainer(...).run()`."""
    trainer = Trainer(
        model, config, data, out_dir, validation=validation, device=device, resume=resume, progress=progress
    )
    return trainer.run()


class Trainer:
    """Trains a model and writes its weights.

    `out_dir` gets `training.json` (all settings, and the precision that was chosen), `log.csv` and `validation.csv`,
    TensorBoard's events, `last.pt` (a resumable checkpoint, replaced atomically), `best.safetensors` (the weights with
    the best mask AP, or PQ, on as many images) and, at the end, `model.safetensors` and `curves.png` (with matplotlib).
    An image or annotation that cannot be read is named in the log, counted, and another image takes its place.

    Started by ``torchrun``, the processes share each batch (DDP) and the validation. Losses are normalised over all of
    them, so that several processes train as one with the whole batch does, norms with batch statistics aside.

    Making a trainer checks everything that can be checked before the first step, and restores the run that is resumed.
    It writes nothing; `run` does.

    Args:
        model: what is trained, initialised by the caller (after `torch.manual_seed`, to make a run repeatable).
        config: how it is trained.
        data: the training images; its categories must be the model's classes. A panoptic model needs panoptic data.
            Any other model takes the things of such data as well.
        out_dir: folder for the results, made where it is missing.
        validation: images for average precision, or panoptic quality, on the way and at the end.
        device: where to train; under ``torchrun`` its type counts.
        resume: go on from `last.pt` in `out_dir`. The run is then the same, bit for bit in one process on the CPU, as
            one that was never interrupted. `steps` and the schedule may be other ones than before; `precision`, too,
            while "auto" keeps that of the checkpoint.
        progress: show a progress bar or lines.

    Raises:
        ValueError: the classes of data and model differ in number; there is nothing to train on; the validation has
            other categories, a bad annotation or results that the model does not give; the batch cannot be shared by
            the processes; the device cannot train in `config.precision`, or that is "auto" and the device would have to
            emulate the precision of the run that is resumed; `last.pt` is damaged or of another model.
        FileExistsError: `out_dir` holds a run and `resume` is False, or files of these names that no run has written.
        FileNotFoundError: there is nothing to resume.
    """

    log: TrainingLog

    def __init__(
        self,
        model: CondInst,
        config: TrainingConfig,
        data: CocoInstances | CocoPanoptic,
        out_dir: str | Path,
        *,
        validation: CocoInstances | CocoPanoptic | None = None,
        device: torch.device | str = "cpu",
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        self.model = model
        self.config = config
        self.data = data
        self.out = Path(out_dir)
        self.checkpoint = self.out / CHECKPOINT
        self.progress = progress
        self._check(resume)
        self.evaluator = None if validation is None else self._make_evaluator(validation)
        content = read_checkpoint(self.checkpoint) if resume else None
        self.precision = choose_training_precision(config.precision, torch.device(device), self.checkpoint, content)
        self.fabric = make_fabric(torch.device(device), self.precision.name)
        self.fabric.launch()
        self._set_up_model()
        if content is not None:
            self.state.load(self.checkpoint, content)
        rank = self.fabric.global_rank
        if content is None or rank > 0:  # the checkpoint has the random numbers of the first process
            torch.manual_seed(config.seed + 1_000_003 * self.state.step * rank + rank)
        self.loader = self._make_loader()
        self.interruption = Interruption()
        self.losses = DelayedLosses(delay=0 if self.fabric.device.type == "cpu" else 1, last_step=config.steps)
        self.saved_at = time.monotonic()

    def _check(self, resume: bool) -> None:
        check_training_data(self.data, self.model.config)
        check_run_folder(self.out, resume=resume)

    def _make_evaluator(self, validation: CocoInstances | CocoPanoptic) -> Evaluator:
        """The evaluator of the validation, whose annotations are read now: what is wrong in them is known at once."""
        evaluator = make_evaluator(validation, self.model.config.replace(classes=self.data.classes))
        evaluator.check()
        return evaluator

    def _set_up_model(self) -> None:
        """Brings the model to its device, with an optimizer and a moving average of the weights."""
        config = self.config
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(
            self.model,
            config.optimizer,
            learning_rate=config.scaled_learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.student: Any
        self.optimizer: Any
        self.student, self.optimizer = self.fabric.setup(self.model.train(), optimizer)
        average = make_average(self.model, config.ema_decay) if config.ema_decay else None
        settings = describe_run(config, self.data)
        self.state = TrainingState(self.model, optimizer, average, self.fabric.strategy.precision, settings)

    def _make_loader(self) -> DataLoader[Sample]:
        config, data = self.config, self.data
        return make_loader(
            SampleStream(data, _make_transform(self.model, config), config.seed),
            groups=aspect_groups(data) if config.group_by_aspect_ratio and not config.crop_size else [0] * len(data),
            batch_size=config.batch_size,
            steps=range(self.state.step, config.steps),
            accumulate=config.accumulate,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            workers=config.num_workers,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def run(self) -> Path:
        """Trains to the last step.

        Returns:
            The path of the weights.

        Raises:
            ValueError: too many images cannot be read.
            FloatingPointError: a loss is not finite; the message names the images. `last.pt` stays as it was.
            KeyboardInterrupt: after Ctrl-C (or SIGTERM) and the step that was running; `last.pt` is written before.
            OSError: the last checkpoint, or the weights, could not be written, or the workers ran out of file
                descriptors or memory.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if self.fabric.is_global_zero:
            self._write_settings()
        self.log = TrainingLog(
            self.out if self.fabric.is_global_zero else None,
            step=self.state.step,
            steps=self.config.steps,
            log_every=self.config.log_every,
            device=self.fabric.device,
            progress=self.progress,
        )
        self.saved_at = time.monotonic()
        with self.interruption, self.log:
            with running_batches(self.loader) as batches:
                while self.state.step < self.losses.last_step:
                    self._run_step(batches)
            if self.losses.last_step < self.config.steps:
                raise KeyboardInterrupt
            return self._finish()

    def _run_step(self, batches: Iterator[list[Sample]]) -> None:
        """One step, with the report, the validation and the checkpoint that are due after it."""
        self.losses.add(self.step(batches))
        every = self.config.validate_every
        validates = self.evaluator is not None and every > 0 and self.state.step % every == 0
        saves = time.monotonic() - self.saved_at >= 60 * self.config.checkpoint_minutes
        for losses in self.losses.due(flush=validates or saves):
            self.report(losses)
        is_last = self.state.step >= self.losses.last_step
        if validates and not is_last:
            try:
                self.validate(self.config.validation_images)
            except Exception:
                if self.fabric.is_global_zero:  # the steps so far must not be lost
                    self.save(required=False)
                raise
        if self.fabric.is_global_zero and (saves or is_last):
            self.save(required=is_last)
            self.saved_at = time.monotonic()

    def step(self, batches: Iterator[list[Sample]]) -> StepLosses:
        """One optimizer step on the next `accumulate` parts of a batch."""
        accumulate = self.config.accumulate
        learning_rate = self._set_learning_rate()
        names: list[str] = []
        values: list[Tensor] = []
        paths: list[str] = []
        waited = 0.0
        for part in range(accumulate):
            start = time.monotonic()
            samples = next_batch(batches, self.config.num_workers)
            waited += time.monotonic() - start
            images = [self._readable_image(sample) for sample in samples]
            with self.fabric.no_backward_sync(self.student, enabled=part < accumulate - 1):
                losses: dict[str, Tensor] = self.student(
                    [image.to(self.fabric.device, non_blocking=True) for image in images],
                    [sample.target for sample in samples],
                    resize=False,
                )
                stacked = torch.stack([loss.float() for loss in losses.values()])
                self.fabric.backward(stacked.sum() / accumulate)
            names = list(losses)
            values.append(stacked.detach())
            paths += [sample.path for sample in samples]
        self._update_weights()
        means = torch.stack(values).mean(dim=0)
        stop_requested = means.new_full((1,), float(self.interruption.stop_requested))
        means = mean_over_processes(torch.cat([means, stop_requested]))
        return StepLosses(self.state.step, names, means, paths, waited, learning_rate)

    def _set_learning_rate(self) -> float:
        """Gives the optimizer the learning rate of the next step, and returns it."""
        config = self.config
        learning_rate = config.scaled_learning_rate * learning_rate_factor(
            self.state.step,
            steps=config.steps,
            schedule=config.schedule,
            milestones=config.milestones,
            warmup_steps=config.warmup_steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def _readable_image(self, sample: Sample) -> Tensor:
        """The image of a sample. Files that could not be read are named once."""
        for path, problem in sample.problems:
            if path not in self.state.unreadable:
                self.state.unreadable.append(path)
                _logger.warning("skipped: %s", problem)
        if sample.image is None:
            problems = sample.problems
            raise ValueError(f"no image could be read in {len(problems)} of {TRIES} tries; {problems[-1][1]}")
        return sample.image

    def _update_weights(self) -> None:
        largest_norm = self.config.clip_gradient_norm
        if largest_norm:
            self.fabric.clip_gradients(self.student, self.optimizer, max_norm=largest_norm, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.state.average is not None:
            self.state.average.update_parameters(self.model)
        self.state.step += 1

    def report(self, losses: StepLosses) -> None:
        """Logs the losses of a step, and ends the run where a process was asked to stop.

        Raises:
            FloatingPointError: a loss is not finite; the message names the images.
        """
        *values, stop_requested = losses.values.tolist()
        by_name = dict(zip(losses.names, values, strict=True))
        if not all(map(math.isfinite, values)):
            images = ", ".join(losses.paths)
            raise FloatingPointError(f"step {losses.step}: a loss is not finite: {by_name}; the images: {images}")
        self.log.add(
            losses.step,
            by_name,
            images=len(losses.paths),
            waited=losses.waited,
            lr=losses.learning_rate,
            unreadable=len(self.state.unreadable),
        )
        if stop_requested > 0:
            self.losses.stop(losses)

    def validate(self, max_images: int = 0) -> None:
        """Measures the model, logs its scores, and keeps its weights if they are the best so far.

        Args:
            max_images: of the validation data, 0 for all. Scores on other numbers of images are not compared.
        """
        assert self.evaluator is not None
        start = time.monotonic()
        state, model = self.state, self.state.result
        if self.fabric.world_size > 1:  # statistics of batches differ; those of the first process are saved
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        scores = self.evaluator.evaluate(model, max_images=max_images, device=self.fabric.device)
        row, count = self.evaluator.columns(scores), scores["images"]
        self.log.validation(state.step, {**row, "images": count, "seconds": time.monotonic() - start})
        score = row[self.evaluator.best_metric]
        score = -1.0 if math.isnan(score) else score  # no image has an object that counts
        if count == state.best_images and score <= state.best_score:
            return
        state.best_images, state.best_score = count, score
        if self.fabric.is_global_zero:
            try:
                save_checkpoint(model, self.out / "best.safetensors", half=True)
            except OSError as error:
                _logger.error("best.safetensors could not be written: %s", error)

    def save(self, *, required: bool) -> None:
        """Writes the resumable checkpoint.

        Args:
            required: raise if it cannot be written. Otherwise log an error and keep the previous checkpoint: the disk
                may have room again the next time.

        Raises:
            FloatingPointError: a weight is not finite; the previous checkpoint is kept.
            OSError: see `required`.
        """
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise FloatingPointError(
                f"step {self.state.step}: a weight is not finite; {self.checkpoint} is the one before, if any"
            )
        try:
            self.state.save(self.checkpoint)
        except OSError as error:
            if required:
                raise
            _logger.error("%s", error)

    def _finish(self) -> Path:
        """Writes the weights, validates them on all images, and draws the curves."""
        weights = self.out / "model.safetensors"
        if self.fabric.is_global_zero:
            save_checkpoint(self.state.result, weights, half=True)
        if self.evaluator is not None:
            self.validate()
        if self.fabric.is_global_zero and can_draw_curves():
            try:
                save_learning_curves({self.out.name: self.out}, self.out / "curves.png")
            except (OSError, ValueError) as error:  # the run succeeded without a picture
                _logger.error("curves.png could not be drawn: %s", error)
        self.fabric.barrier()
        return weights

    def _write_settings(self) -> None:
        """Writes training.json, and logs the precision and the plan."""
        settings = {
            "model": json.loads(self.model.config.to_json()),
            "training": dataclasses.asdict(self.config),
            "data": str(self.data.annotations),
            "processes": self.fabric.world_size,
            "precision": dataclasses.asdict(self.precision),
        }
        write_json(self.out / SETTINGS, settings)
        _logger.info("precision %s: %s", self.precision.name, self.precision.reason)
        if self.precision.warning:
            _logger.warning("precision: %s", self.precision.warning)
        if self.progress:
            self._log_plan()

    def _log_plan(self) -> None:
        config = self.config
        scaled = ""
        if config.scaled_learning_rate != config.learning_rate:
            scaled = f" ({config.learning_rate:g} for {config.base_batch_size} images, scaled to {config.batch_size})"
        _logger.info(
            "%d steps of %d images (%.1f epochs of %d images) on %d x %s, %s; learning rate %g%s",
            config.steps,
            config.batch_size,
            config.steps * config.batch_size / len(self.data),
            len(self.data),
            self.fabric.world_size,
            self.fabric.device.type,
            self.fabric.strategy.precision.precision,
            config.scaled_learning_rate,
            scaled,
        )


def _make_transform(model: CondInst, config: TrainingConfig) -> TrainingTransform:
    return TrainingTransform(
        config,
        min_size_test=model.config.min_size_test,
        max_size_test=model.config.max_size_test,
        min_size_train=model.config.min_size_train,
        max_size_train=model.config.max_size_train,
    )
