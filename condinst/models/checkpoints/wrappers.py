"""Where state dicts are in a file, and what frameworks put before the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from .arrays import array_of

_WRAPPERS = (
    "model",
    "state_dict",
    "blobs",
    "model_state_dict",
    "model_state",
    "ema_state_dict",
    "model_ema",
    "ema",
    "module",
    "network",
    "net",
    "weights",
    "params",
    "checkpoint",
)
"""Names under which frameworks keep the state dict, the usual ones first."""

_TRANSPARENT = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DDP, torch.compile, DeepSpeed, FSDP and activation checkpointing put before a name, at any depth of a model."""

_PREFIXES = _TRANSPARENT | {"model", "ema_model", "ema_module", "ema", "network", "net"}
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|average|averaged|teacher)(?![a-z])")
_DEEPEST = 4  # levels of dicts around a state dict


def unwrap(content: Any) -> Any:
    """The state dict of a file with a single model, without the prefix that all of its names have."""
    for _ in range(_DEEPEST):
        inner = next((content[name] for name in _WRAPPERS if _is_dict(content) and _is_dict(content.get(name))), None)
        if inner is None:
            break
        content = inner
    return _without_prefix(content) if _is_dict(content) else content


def _without_prefix(state: Mapping[Any, Any]) -> Mapping[Any, Any]:
    names = [key for key, value in state.items() if isinstance(key, str) and is_tensor(value)]
    first = {name.partition(".")[0] for name in names}
    if not names or len(first) > 1 or not first <= _PREFIXES or not all("." in name for name in names):
        return state
    return _without_prefix({name.partition(".")[2]: state[name] for name in names})


def state_dicts(content: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All dicts in a file that hold tensors under names, each with the names that lead to it, joined by dots."""
    waiting = [("", content, 0)]
    seen = set()
    while waiting:
        place, value, depth = waiting.pop(0)
        if not _is_dict(value) or id(value) in seen:
            continue
        seen.add(id(value))
        named = {key: entry for key, entry in value.items() if isinstance(key, str)}
        if any(map(is_tensor, named.values())):
            yield place, named
        if depth < _DEEPEST:
            waiting += [(f"{place}.{key}" if place else key, entry, depth + 1) for key, entry in named.items()]


def submodels(state: Mapping[str, Any], anchor: str) -> dict[str, dict[str, Any]]:
    """The state dicts of a model inside a larger one, each by the prefix of its names.

    Args:
        state: the larger one.
        anchor: a name that each state dict of such a model has.

    Raises:
        ValueError: two tensors have the same name once the wrappers inside of it are left out.
    """
    names: dict[str, str] = {}
    for key in state:
        name = ".".join(part for part in key.split(".") if part not in _TRANSPARENT)
        if name in names and state[names[name]] is not state[key]:
            raise ValueError(f"expected one tensor for {name}, got {names[name]} and {key}")
        names[name] = key
    prefixes = [name.removesuffix(anchor) for name in names if name.endswith(anchor)]
    prefixes = [prefix for prefix in prefixes if not prefix or prefix.endswith((".", "ema_"))]
    copies = {f"ema_{name.replace('.', '_')}" for name in names}  # beside the weights, by the EMA hook of MMCV 1
    models: dict[str, dict[str, Any]] = {prefix: {} for prefix in prefixes}
    for name, key in names.items():
        prefix = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)
        if prefix is not None and name not in copies and not _is_counter(name, state[key]):
            models[prefix][name.removeprefix(prefix)] = state[key]
    return models


def is_averaged(place: str) -> bool:
    """Whether the names that lead to a state dict say that it is a moving average."""
    return bool(_AVERAGED.search(place.lower()))


def rank(place: str) -> int:
    """The order in which state dicts are preferred, by the names that lead to them."""
    return next((index for index, name in enumerate(_WRAPPERS) if place.partition(".")[0] == name), len(_WRAPPERS))


def is_tensor(value: Any) -> bool:
    """Whether a value of a file is a tensor or an array."""
    return isinstance(value, Tensor) or array_of(value) is not None


def _is_counter(name: str, value: Any) -> bool:
    """Whether this is no tensor of a module but a number beside them, such as the number of averaged models."""
    array = value if isinstance(value, Tensor) else array_of(value)
    return "." not in name and array is not None and array.ndim == 0


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)
