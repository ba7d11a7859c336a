"""A plain training loop: COCO instances in, weights out."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from condinst.data.coco import CocoInstances
from condinst.data.transforms import TrainingTransform
from condinst.engine.loader import Sample, SampleStream, make_loader
from condinst.engine.optimization import learning_rate_factor, make_average, make_optimizer
from condinst.engine.training_state import TrainingState
from condinst.evaluation.coco import evaluate_coco, json_ready
from condinst.models.checkpoints import save_checkpoint
from condinst.models.condinst import CondInst

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained; the defaults are AdelaiDet's 1x schedule (SPEC 2.7).

    Args:
        steps: optimizer steps.
        batch_size: images per step.
        optimizer: "sgd" or "adamw".
        learning_rate: highest one.
        momentum: of SGD.
        weight_decay: of all parameters but those of norm layers.
        schedule: "steps" (a tenth at each of `milestones`) or "cosine" (to 0).
        milestones: steps at which the schedule "steps" falls.
        warmup_steps: linear rise of the learning rate from a thousandth.
        clip_gradient_norm: larger gradient norms are scaled down to it; 0 for never.
        ema_decay: the weights that are validated and saved are a moving average with this decay; 0 for the plain ones.
        bfloat16: run the model under bfloat16 autocast.
        crop_size: train on random crops of this side in network input pixels, see `TrainingTransform`; 0 trains on
            whole images, which the model resizes to `min_size_train`.
        scale_range: lowest and highest factor on the scale of testing, when training on crops.
        horizontal_flip, vertical_flip, transpose: probabilities of mirroring.
        colour_jitter: largest relative change of brightness, contrast and saturation.
        num_workers: processes that prepare images.
        seed: of data order, random changes and the model's own draws.
        log_every: steps between two lines of the log.
        checkpoint_minutes: minutes between two resumable checkpoints; 0 writes one after each step.
        validate_every: steps between two validations; 0 validates at the end only.
        validation_images: images of a validation on the way, 0 for all; the one at the end takes all.
    """

    steps: int = 90_000
    batch_size: int = 16
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "steps"
    milestones: tuple[int, ...] = (60_000, 80_000)
    warmup_steps: int = 1000
    clip_gradient_norm: float = 0.0
    ema_decay: float = 0.0
    bfloat16: bool = False
    crop_size: int = 0
    scale_range: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.0
    transpose: float = 0.0
    colour_jitter: float = 0.0
    num_workers: int = 2
    seed: int = 0
    log_every: int = 20
    checkpoint_minutes: float = 10.0
    validate_every: int = 0
    validation_images: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("crop_size", "warmup_steps", "num_workers", "validate_every", "validation_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected a number in 0..1, got {self.ema_decay}")


def train(
    model: CondInst,
    config: TrainingConfig,
    data: CocoInstances,
    out_dir: str | Path,
    *,
    validation: CocoInstances | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Trains a model and writes its weights.

    `out_dir` gets `training.json` (all settings), `log.jsonl` (losses, rates, validations), `last.pt` (a resumable
    checkpoint, replaced atomically) and, at the end, `model.safetensors`. An image that cannot be read is named in the
    log and left out of its batch.

    Args:
        model: what is trained, initialised by the caller (after `torch.manual_seed`, to make a run repeatable).
        config: how.
        data: the training images; its categories must be the model's classes.
        out_dir: folder for the results, made where it is missing.
        validation: images for average precision on the way and at the end.
        device: where to train.
        resume: go on from `last.pt` in `out_dir`. The run is then the same, bit for bit on the CPU, as one that was
            never interrupted. `steps` and the schedule may be other ones than before.
        progress: show a progress bar.

    Returns:
        The path of the weights.

    Raises:
        ValueError: when the classes of data and model differ in number or no image can be read.
        FileExistsError: when `out_dir` holds a run and `resume` is False.
        FloatingPointError: when a loss is not finite; the message names the images. `last.pt` stays as it was.
    """
    if len(data.category_ids) != model.config.num_classes:
        raise ValueError(
            f"num_classes: expected {len(data.category_ids)}, the categories of {data.annotations},"
            f" got {model.config.num_classes}"
        )
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "last.pt"
    if checkpoint.exists() and not resume:
        raise FileExistsError(f"{checkpoint} is from an earlier run: resume it or choose another folder")
    (out / "training.json").write_text(json.dumps(dataclasses.asdict(config), indent=1), encoding="utf-8")

    model.train().to(device)
    optimizer = make_optimizer(
        model,
        config.optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    average = make_average(model, config.ema_decay) if config.ema_decay else None
    state = TrainingState(model, optimizer, average)
    if resume:
        state.load(checkpoint)
    else:
        torch.manual_seed(config.seed)
    log = _Log(out / "log.jsonl", state.step)
    stream = SampleStream(data, _make_transform(model, config), config.seed)
    loader = make_loader(
        stream, batch_size=config.batch_size, start=state.step, steps=config.steps, workers=config.num_workers
    )

    bar = _progress_bar(disable=not progress)
    saved_at = time.monotonic()
    with bar:
        task = bar.add_task("Training", total=config.steps, completed=state.step, loss="")
        for samples in loader:
            waited = time.monotonic() - log.last_step_end
            readable = _readable(samples, state, len(data))
            if readable:
                losses = _step(model, optimizer, readable, config, state.step, device)
                if average is not None:
                    average.update_parameters(model)
                log.add(losses, len(readable), waited)
            state.step += 1
            if state.step % config.log_every == 0 or state.step == config.steps:
                loss = log.write(state.step, lr=optimizer.param_groups[0]["lr"], unreadable=len(state.unreadable))
                bar.update(task, loss=f"loss {loss:.3f}")
            bar.update(task, completed=state.step)
            if time.monotonic() - saved_at >= 60 * config.checkpoint_minutes or state.step == config.steps:
                state.save(checkpoint)
                saved_at = time.monotonic()
            on_the_way = config.validate_every and state.step % config.validate_every == 0
            if validation is not None and on_the_way and state.step < config.steps:
                _validate(state.result, validation, config.validation_images, state.step, device, log)
    weights = out / "model.safetensors"
    save_checkpoint(state.result, weights, half=True)
    if validation is not None:
        _validate(state.result, validation, 0, state.step, device, log)
    return weights


def _make_transform(model: CondInst, config: TrainingConfig) -> TrainingTransform:
    return TrainingTransform(
        crop_size=config.crop_size,
        scale_range=config.scale_range,
        min_size=model.config.min_size_test,
        max_size=model.config.max_size_test,
        horizontal_flip=config.horizontal_flip,
        vertical_flip=config.vertical_flip,
        transpose=config.transpose,
        colour_jitter=config.colour_jitter,
    )


def _readable(samples: list[Sample], state: TrainingState, images: int) -> list[Sample]:
    """The samples that have an image; the files of the others are named once."""
    for sample in samples:
        if sample.problem and sample.path not in state.unreadable:
            state.unreadable.append(sample.path)
            _logger.warning("skipped: %s", sample.problem)
    if len(state.unreadable) == images:
        raise ValueError(f"no image could be read; the last: {samples[-1].problem}")
    return [sample for sample in samples if sample.image is not None]


def _step(
    model: CondInst,
    optimizer: torch.optim.Optimizer,
    samples: list[Sample],
    config: TrainingConfig,
    step: int,
    device: torch.device | str,
) -> dict[str, float]:
    """One optimizer step. Returns the losses."""
    factor = learning_rate_factor(
        step,
        steps=config.steps,
        schedule=config.schedule,
        milestones=config.milestones,
        warmup_steps=config.warmup_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor
    images = [sample.image.to(device) for sample in samples if sample.image is not None]
    targets = [{key: _to(value, device) for key, value in sample.target.items()} for sample in samples]
    kind = torch.device(device).type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=config.bfloat16):
        losses: dict[str, Tensor] = model(images, targets, resize=config.crop_size == 0)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if not torch.isfinite(total):
        raise FloatingPointError(
            f"step {step}: a loss is not finite: {values}; the images: {', '.join(sample.path for sample in samples)}"
        )
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    if config.clip_gradient_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_gradient_norm)
    optimizer.step()
    return values


def _to(value: Any, device: torch.device | str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _validate(
    model: CondInst,
    validation: CocoInstances,
    images: int,
    step: int,
    device: torch.device | str,
    log: _Log,
) -> None:
    start = time.monotonic()
    scores = evaluate_coco(
        model, validation, max_detections=model.config.max_detections or 1000, max_images=images, device=device
    )
    log.write_row({"step": step, "validation": json_ready(scores), "images": images or len(validation)})
    log.last_step_end = time.monotonic()
    _logger.info(
        "step %d: box AP %.4f, mask AP %.4f (%.0f s)",
        step,
        scores["box"]["AP"],
        scores["mask"]["AP"],
        time.monotonic() - start,
    )


class _Log:
    """A JSON-lines file of mean losses; rows after the step that is resumed from are cut off.

    Args:
        path: the file.
        step: the step that is resumed from, 0 for a new run.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.last_step_end = time.monotonic()
        rows = path.read_text(encoding="utf-8").splitlines() if step and path.exists() else []
        kept = [row for row in rows if json.loads(row)["step"] <= step]
        path.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
        self._reset()

    def _reset(self) -> None:
        self._losses: list[dict[str, float]] = []
        self._images = 0
        self._waited = 0.0
        self._start = time.monotonic()

    def add(self, losses: dict[str, float], images: int, waited: float) -> None:
        """Takes the figures of one step: its losses, number of images and seconds it waited for them."""
        self._losses.append(losses)
        self._images += images
        self._waited += waited
        self.last_step_end = time.monotonic()

    def write(self, step: int, *, lr: float, unreadable: int) -> float:
        """Writes the means since the last call. Returns the mean of the summed losses."""
        count = max(len(self._losses), 1)
        names = self._losses[0] if self._losses else {}
        means = {name: sum(losses[name] for losses in self._losses) / count for name in names}
        seconds = time.monotonic() - self._start
        self.write_row(
            {
                "step": step,
                "lr": lr,
                **means,
                "seconds_per_step": seconds / count,
                "seconds_waiting_for_data_per_step": self._waited / count,
                "images": self._images,
                "unreadable": unreadable,
            }
        )
        self._reset()
        return sum(means.values())

    def write_row(self, row: dict[str, Any]) -> None:
        """Appends one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _progress_bar(*, disable: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        disable=disable,
    )
