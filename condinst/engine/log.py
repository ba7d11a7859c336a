"""The log of a training: CSV files, TensorBoard, a progress bar or lines."""

from __future__ import annotations

import csv
import io
import logging
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from condinst.files import atomic_write
from condinst.progress import progress_bar

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_logger = logging.getLogger(__name__)

_FILES = ("log", "validation")


class CsvLog:
    """A CSV file whose columns are those of its first row.

    Args:
        path: the file.
        step: the step that is resumed from, 0 for a new run; rows after it are cut off.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        old = path.read_text(encoding="utf-8") if step and path.exists() else ""
        rows = list(csv.DictReader(io.StringIO(old)))
        self.columns = list(rows[0]) if rows else []
        kept = [row for row in rows if row["step"].isdigit() and int(row["step"]) <= step and None not in row.values()]
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            if rows:
                writer = csv.DictWriter(file, self.columns)
                writer.writeheader()
                writer.writerows(kept)

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row; what has no column is left out."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns or list(row), extrasaction="ignore", restval="")
            if not self.columns:
                self.columns = list(row)
                writer.writeheader()
            writer.writerow(row)


class TrainingLog:
    """The figures of a run: `log.csv`, `validation.csv`, TensorBoard's event file, and what is seen meanwhile.

    On a terminal there is a progress bar, elsewhere a line for each row of `log.csv`. Without the package tensorboard
    there is no event file.

    Args:
        folder: where the files go; None, for all processes but the first, writes and shows nothing.
        step: the step that is resumed from, 0 for a new run.
        steps: of the whole run.
        log_every: steps that a row is the mean of.
        device: its peak memory is a column.
        progress: show a bar or lines.
    """

    def __init__(
        self, folder: Path | None, *, step: int, steps: int, log_every: int, device: torch.device, progress: bool
    ) -> None:
        self.steps = steps
        self.log_every = log_every
        self.device = device
        self._shows = progress and folder is not None
        self._files = (
            None if folder is None else (CsvLog(folder / "log.csv", step), CsvLog(folder / "validation.csv", step))
        )
        self._board = None if folder is None else _summary_writer(folder, step)
        self._bar = progress_bar(shown=self._shows)
        self._task = self._bar.add_task("Training", total=steps, completed=step, text="")
        self._first_step = step
        self._start = time.monotonic()
        self._reset()

    def __enter__(self) -> TrainingLog:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def _reset(self) -> None:
        self._losses: list[dict[str, float]] = []
        self._images = 0
        self._waited = 0.0
        self._since = time.monotonic()

    def add(
        self, step: int, losses: dict[str, float], *, images: int, waited: float, lr: float, unreadable: int
    ) -> None:
        """Takes the figures of a step, and writes a row of means after `log_every` steps and at the end.

        Args:
            step: from 1.
            losses: by name.
            images: images of this process.
            waited: seconds spent waiting for them.
            lr: learning rate.
            unreadable: files that could not be read so far.
        """
        self._losses.append(losses)
        self._images += images
        self._waited += waited
        self._bar.update(self._task, completed=step)
        if step % self.log_every and step != self.steps:
            return
        taken = len(self._losses)
        means = {name: sum(each[name] for each in self._losses) / taken for name in losses}
        seconds = time.monotonic() - self._since
        row = {
            "step": step,
            "lr": lr,
            "loss": sum(means.values()),
            **means,
            "seconds_per_step": seconds / taken,
            "data_seconds_per_step": self._waited / taken,
            "memory_mib": _memory_mib(self.device),
            "images": self._images,
            "unreadable": unreadable,
        }
        self._reset()
        self._write("log", row)
        figures = f"loss {row['loss']:.3f}, lr {lr:.2g}, {row['seconds_per_step']:.2f} s/step"
        figures += f" (data {row['data_seconds_per_step']:.2f}), {row['memory_mib']:.0f} MiB"
        self._bar.update(self._task, text=figures)
        if self._shows and self._bar.disable:
            left = (self.steps - step) * (time.monotonic() - self._start) / (step - self._first_step)
            _logger.info("step %d/%d: %s, %s left", step, self.steps, figures, timedelta(seconds=round(left)))

    def validation(self, step: int, row: dict[str, Any]) -> None:
        """Writes the figures of a validation, whose time does not count as the steps'."""
        self._write("validation", {"step": step, **row})
        if self._shows:
            main = [name for name in row if name.endswith("_AP") or name.startswith("PQ")]
            figures = ", ".join(f"{name} {row[name]:.4f}" for name in main)
            _logger.info("step %d: %s (%d images, %.0f s)", step, figures, row["images"], row["seconds"])
        self._reset()

    def _write(self, file: str, row: dict[str, Any]) -> None:
        """Writes a row. A full disk must not end a training, so a row that cannot be written is an error in the log."""
        try:
            if self._files is not None:
                cells = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
                self._files[_FILES.index(file)].write(cells)
            if self._board is not None:
                for name, value in row.items():
                    if name != "step":
                        self._board.add_scalar(f"{file}/{name}", value, row["step"])
        except OSError as error:
            _logger.error("%s.csv or TensorBoard: the row of step %s is lost: %s", file, row["step"], error)


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)


def _memory_mib(device: torch.device) -> float:
    """Peak memory: on a GPU what PyTorch's allocator held, else that of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
