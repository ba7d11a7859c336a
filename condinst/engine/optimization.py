"""Parameter groups, learning-rate schedule and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def make_optimizer(
    model: nn.Module, kind: str, *, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD or AdamW over the parameters that have a gradient, without weight decay on those of norm layers.

    Args:
        model: what is trained.
        kind: "sgd" or "adamw".
        learning_rate: before any schedule.
        momentum: of SGD.
        weight_decay: of all other parameters.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if id(p) not in norms], "weight_decay": weight_decay},
        {"params": [p for p in trainable if id(p) in norms], "weight_decay": 0.0},
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate)
    raise ValueError(f"optimizer: expected 'sgd' or 'adamw', got {kind!r}")


def learning_rate_factor(
    step: int, *, steps: int, schedule: str, milestones: tuple[int, ...] = (), warmup_steps: int = 0
) -> float:
    """What the learning rate is multiplied by in `step` (from 0) of `steps`.

    Args:
        step: the optimizer step.
        steps: length of the training.
        schedule: "cosine" falls to 0 at the end; "steps" falls tenfold at each milestone.
        milestones: steps at which "steps" falls.
        warmup_steps: the factor rises linearly from 1/1000 over so many first steps.
    """
    if schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * step / steps))
    elif schedule == "steps":
        factor = 0.1 ** sum(step >= milestone for milestone in milestones)
    else:
        raise ValueError(f"schedule: expected 'cosine' or 'steps', got {schedule!r}")
    if step < warmup_steps:
        done = step / warmup_steps
        factor *= done + (1 - done) / 1000
    return factor


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights and norm statistics.

    Args:
        model: what is trained; it is copied.
        decay: share of the old average that a step keeps; smaller in the first steps, so that the initial weights
            are soon forgotten.
    """

    def update(old: Sequence[Tensor], new: Sequence[Tensor], _: Tensor | int) -> None:
        number = int(average.n_averaged)  # on the CPU, so that no GPU is waited for
        share = 1 - min(decay, (1 + number) / (10 + number))
        if old[0].is_floating_point():
            torch._foreach_lerp_(list(old), list(new), share)
        else:
            torch._foreach_copy_(list(old), list(new))

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average
