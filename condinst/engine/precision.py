"""The precision of a training, also of one that is resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from condinst.precision import PRECISIONS, PrecisionChoice, choose_precision, why_emulated


def choose_training_precision(
    precision: str, device: torch.device, checkpoint: Path, content: Mapping[str, Any] | None
) -> PrecisionChoice:
    """The precision of a run.

    A run that is resumed with "auto" keeps the precision of its checkpoint. If the device would have to emulate that
    precision, the user decides: otherwise the run would change its precision, or become many times slower, unnoticed.

    Args:
        precision: see `TrainingConfig`.
        device: where to train.
        checkpoint: the file that a run is resumed from, for messages.
        content: its content, see `read_checkpoint`; None for a new run.

    Raises:
        ValueError: the device cannot train in this precision; or "auto" cannot keep that of the checkpoint.
    """
    choice = choose_precision(precision, device)
    if content is not None:
        previous = content.get("precision_name")  # older checkpoints do not say
        if precision == "auto":
            choice = _keep(previous, device, checkpoint)
        elif previous not in (None, choice.name):
            change = f"{previous} up to step {content['step']}, {choice.name} from there on"
            choice = dataclasses.replace(choice, warning=f"{change}; {choice.warning}".rstrip("; "))
    if choice.name == "16-mixed" and device.type != "cuda":
        raise ValueError(f"precision: expected 32-true or bf16-mixed on {device.type}, got 16-mixed ({choice.reason})")
    return choice


def _keep(previous: str | None, device: torch.device, checkpoint: Path) -> PrecisionChoice:
    if previous is None or previous not in PRECISIONS[1:]:  # all but "auto"
        problem: str | None = "it does not say which precision it was written with"
    else:
        problem = why_emulated(previous, device)
        problem = problem and f"it was written with {previous}, and {problem}"
    if problem is not None:
        raise ValueError(
            f"precision: expected a name to resume {checkpoint} with (--set precision=32-true), got auto: {problem}"
        )
    return PrecisionChoice(str(previous), f"as in {checkpoint}")
