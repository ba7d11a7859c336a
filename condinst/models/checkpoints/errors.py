"""What is wrong with a checkpoint, in one message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

SHOWN = 8
"""Keys listed of each kind before the rest is only counted."""


class CheckpointError(ValueError):
    """A file that is not what it should be: unreadable, of another architecture, or incomplete."""


def check_keys(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` with the missing, unexpected and misshapen keys unless the two agree.

    Args:
        given: the tensors of the file.
        expected: the tensors of the model.
        source: what the message calls the file.
    """
    missing = [key for key in expected if key not in given]
    unexpected = [key for key in given if key not in expected]
    misshapen = [
        f"{key} (expected {list(expected[key].shape)}, got {list(given[key].shape)})"
        for key in expected
        if key in given and given[key].shape != expected[key].shape
    ]
    parts = [
        f"{len(keys)} {kind}: {_shortened(keys)}"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    if parts:
        raise CheckpointError(f"{source}: the weights do not fit the model: " + "; ".join(parts))


def _shortened(keys: Iterable[str]) -> str:
    listed = list(keys)
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
