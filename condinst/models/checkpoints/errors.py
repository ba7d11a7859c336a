"""The error for a checkpoint that cannot be used, with all problems in one message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ...messages import shorten_text

_QUANTISED = (torch.int8, torch.uint8, torch.bool)

SHOWN = 8
"""The most keys of each kind that a message lists; further keys are only counted."""


CUT_OFF = "refused: cut off or damaged, like a download that did not finish"
"""The reason for a file that ends before its content does."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: unreadable, of another architecture, or incomplete."""


def check_keys(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` with the missing, unexpected and misshapen keys unless both state dicts agree.

    Whole numbers of 8 bits in place of real ones are those of a quantised network, whose scales are missing.

    Args:
        state: the tensors of the file.
        expected: the tensors of the model.
        source: name of the file in the message.
    """
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} (expected {list(expected[key].shape)}, got {list(state[key].shape)})"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    whole = [
        f"{key} ({str(state[key].dtype).removeprefix('torch.')})"
        for key in expected
        if key in state and expected[key].is_floating_point() and state[key].dtype in _QUANTISED
    ]
    parts = [
        f"{len(keys)} {kind}: {shorten_all(keys)}"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
            ("not of real numbers", whole),
        )
        if keys
    ]
    if parts:
        raise CheckpointError(f"{source}: the weights do not fit the model: " + "; ".join(parts))


def axis_size(state: Mapping[str, Tensor], key: str, axis: int = 0) -> int:
    """The length of an axis of a tensor of a state dict.

    Raises:
        KeyError: no such tensor, or one without this axis.
    """
    if state[key].dim() <= axis:
        raise KeyError(f"{key} of at least {axis + 1} axes")
    return state[key].shape[axis]


def shorten_all(keys: Iterable[str]) -> str:
    """The first few of some keys, for a message."""
    listed = list(keys)
    rest = len(listed) - SHOWN
    return ", ".join(map(shorten_text, listed[:SHOWN])) + (f" and {rest} more" if rest > 0 else "")
