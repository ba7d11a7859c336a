"""Whole models: `condinst.load` and its inverse."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ...classes import Classes, match_order
from ...files import atomic_write
from ..condinst import CondInst
from ..config import CondInstConfig
from ..config_files import load_config
from ..meta import meta_device
from .checkpoint import CONFIG_KEY, Checkpoint
from .errors import CheckpointError, check_keys, shorten_all

MOST_PARAMETERS = 2_000_000_000
"""The most parameters of a model, 8 GB in float32; the largest published model has 54 million. Each field of a config
may be high, but not all of them together."""

_CLASSES = ("head.cls_logits.", "mask_branch.logits.")
_PANOPTIC_CLASSES = ("semantic_branch.logits.",)
_SEMANTIC = ("mask_branch.seg_head.", "mask_branch.logits.")
_PANOPTIC = ("semantic_branch.",)
_FPN_LEVEL = re.compile(r"^(neck\.(?:inner|layer)_blocks)\.(\d+)\.")


def load(
    source: str | Path | Checkpoint,
    config: str | Path | CondInstConfig | None = None,
    device: str | torch.device = "cpu",
    **overrides: Any,
) -> CondInst:
    """A model in eval mode, from the name of a built-in config or from a weights file.

    Args:
        source: name of a built-in config (with its packaged weights, or if it has none, with random weights and a
            warning), a `.safetensors` file of `save_checkpoint`, or a checkpoint of AdelaiDet or MMDetection 3. The
            architecture of a checkpoint is detected from its keys and shapes; `mask_head._iter` and
            `num_batches_tracked` may be missing. A `Checkpoint` is such a file that was read before.
        config: a config, or its name or TOML file, used instead of the config of `source`.
        device: device of the model.
        **overrides: fields of `CondInstConfig` to change, such as `mask_output_stride=4` or `score_threshold=0.5`.

    Raises:
        CheckpointError: (a ValueError) unreadable file, code in it, a config in it that no model can have, or weights
            that do not fit; the message lists missing, unexpected and misshapen keys.
        TypeError: an override that has another type than its field.
        ValueError: an unknown name, field or value.
        OSError: a path that the system cannot look up.
        RuntimeError: PyTorch cannot use `device`.
    """
    chosen = load_config(config) if isinstance(config, str | Path) else config
    if chosen is not None and not isinstance(chosen, CondInstConfig):
        raise TypeError(f"config: expected a config, or the name or file of one, got {type(config).__name__}")
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint.find(source)
    if checkpoint is None:
        warnings.warn(f"{source}: no weights come with this config; the model has random ones", stacklevel=2)
        return new_model((chosen or load_config(str(source))).replace(**overrides)).to(device).eval()
    model_config = (chosen or checkpoint.config()).replace(**overrides)
    return _make_model(model_config, checkpoint.state_for(model_config), str(checkpoint.path)).to(device).eval()


def _make_model(config: CondInstConfig, state: Mapping[str, Tensor], source: str) -> CondInst:
    """A model with the weights of a file. Memory is allocated only after a check that the weights fit."""
    try:
        model = _without_memory(config)
    except ValueError as error:  # unknown names of blocks, which only the backbone can check, or too many parameters
        raise CheckpointError(f"{source}: {error}") from error
    weights = _fitting_weights(model, state, source)
    # Copies, because a tensor of a file may be part of a larger one, or mapped from the disk.
    weights = {
        key: weights[key].to("cpu", value.dtype, copy=True, memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    model.reset_constants()
    _warn_of_values(model, source)
    return model


def _warn_of_values(model: CondInst, source: str) -> None:
    """Warns of weights that are not finite, as a training that diverged, or half precision, leaves them."""
    values = model.state_dict()
    keys = [key for key, value in values.items() if value.is_floating_point() and not value.isfinite().all()]
    if keys:
        warnings.warn(
            f"{source}: {len(keys)} of {len(values)} tensors have values that are not finite: {shorten_all(keys)}",
            stacklevel=4,
        )


def new_model(config: CondInstConfig) -> CondInst:
    """A model with random weights.

    Raises:
        ValueError: more than `MOST_PARAMETERS`, or names of blocks that the backbone does not have.
    """
    _without_memory(config)
    return CondInst(config)


def _without_memory(config: CondInstConfig) -> CondInst:
    """A model whose weights have no memory yet; raises if it has too many."""
    with meta_device():
        model = CondInst(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(f"config: expected a model of at most {MOST_PARAMETERS} parameters, got {count}")
    return model


def fine_tune(source: str | Path, config: str | Path | None = None, **overrides: Any) -> CondInst:
    """A model for further training, from weights that may be for other classes.

    Where the number of classes differs, the last layers of classification start anew; so do a semantic branch and finer
    levels of an FPN that the weights do not have. So an instance model becomes a panoptic one. Where the number is the
    same, these layers start from those of the classes of the same name, in their order for other names.

    Args:
        source: as in `load`.
        config: name or TOML file of a config with the architecture of the weights, for all fields that the weights do
            not determine; by default the config of the weights.
        **overrides: fields of `CondInstConfig`, such as `num_classes` and `class_names`.

    Raises:
        CheckpointError, ValueError: as `load`.
    """
    pretrained = load(source)
    base = pretrained.config if config is None else load_config(config)
    return fine_tune_model(pretrained, base.replace(**overrides), str(source))


def fine_tune_model(pretrained: CondInst, config: CondInstConfig, source: str) -> CondInst:
    """The same as `fine_tune`, with a pretrained model instead of a file, and with the config of the result.

    Args:
        pretrained: model with the weights, which are copied.
        config: config of the result.
        source: name of the weights in error messages.
    """
    model = new_model(config)
    initial, weights = model.state_dict(), pretrained.state_dict()
    finer = max(0, len(config.fpn_in_features) - len(pretrained.config.fpn_in_features))
    weights = {
        _FPN_LEVEL.sub(lambda key: f"{key[1]}.{int(key[2]) + finer}.", key): value for key, value in weights.items()
    }
    fresh = [
        key
        for key in initial
        if (key not in weights and (key.startswith(_SEMANTIC + _PANOPTIC) or _level(key) < finer))
        or (key.startswith(_CLASSES) and key in weights and initial[key].shape != weights[key].shape)
        or (key.startswith(_PANOPTIC_CLASSES) and _channels(config) != _channels(pretrained.config))
    ]
    weights |= _sort_classes(weights, pretrained.config.classes, config, source)
    model.load_state_dict(_fitting_weights(model, weights | {key: initial[key] for key in fresh}, source))
    return model


def _sort_classes(
    weights: Mapping[str, Tensor], pretrained: Classes, config: CondInstConfig, source: str
) -> dict[str, Tensor]:
    """The last layers of classification with their channels in the order of other classes of the same number.

    Channels of the semantic branch are sorted with them where things have one each.
    """
    classes = config.classes
    things, stuff = list(range(classes.num_classes)), list(range(classes.num_stuff_classes))
    if pretrained.num_classes == classes.num_classes:
        things = _class_order(classes.class_names, pretrained.class_names, things, source)
    if pretrained.num_stuff_classes == classes.num_stuff_classes:
        stuff = _class_order(classes.stuff_names, pretrained.stuff_names, stuff, source)
    num_things = config.num_thing_channels
    channels = (things if num_things == len(things) else list(range(num_things))) + [num_things + i for i in stuff]
    orders = {key: things for key in weights if key.startswith(_CLASSES)}
    orders |= {key: channels for key in weights if key.startswith(_PANOPTIC_CLASSES)}
    return {key: weights[key][order] for key, order in orders.items() if len(weights[key]) == len(order)}


def _class_order(names: Sequence[str], pretrained: Sequence[str], order: list[int], source: str) -> list[int]:
    """For each class the channel of the pretrained class; `order` where there are no names to sort by."""
    if names and pretrained:
        order = match_order(names, pretrained)
        pairs = [f"{names[i]!r} from {pretrained[j]!r}" for i, j in enumerate(order) if names[i] != pretrained[j]]
        reason = ""
    else:
        pairs = [f"{name!r} from {label}" for label, name in enumerate(names)]
        reason = ", because they have no names of classes"
    if pairs and len(order) > 1:
        warnings.warn(
            f"{source}: classes start from those of the weights in their order{reason}: {shorten_all(pairs)}",
            stacklevel=5,
        )
    return order


def _channels(config: CondInstConfig) -> tuple[int, int]:
    """The things and the stuff that the channels of the semantic branch stand for."""
    return config.num_thing_channels, config.num_stuff_classes


def _level(key: str) -> float:
    """The index of the FPN level that a key belongs to, counted from the finest; infinity for other keys."""
    match = _FPN_LEVEL.match(key)
    return int(match[2]) if match else math.inf


def _fitting_weights(model: CondInst, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of a file, under the names of the model, that are loaded into it.

    `num_batches_tracked`, a counter without effect on the output, may be missing or unexpected. A semantic branch of
    either kind is dropped if the config has none.

    Raises:
        CheckpointError: missing, unexpected or misshapen keys; the message lists them.
    """
    expected = model.state_dict()
    weights = dict(state)
    dropped: tuple[str, ...] = () if model.config.semantic_loss else _SEMANTIC
    dropped += () if model.config.panoptic else _PANOPTIC
    weights = {key: value for key, value in weights.items() if not key.startswith(dropped)}
    weights = {
        key: value for key, value in weights.items() if not key.endswith("num_batches_tracked") or key in expected
    }
    counters = [key for key in expected if key.endswith("num_batches_tracked")]
    weights = {key: torch.zeros((), dtype=torch.int64) for key in counters} | weights
    # NumPy has no axes where older tools have one of length 1, and the other way round
    single = {key for key in weights.keys() & expected.keys() if weights[key].numel() == expected[key].numel() == 1}
    weights |= {key: weights[key].reshape(expected[key].shape) for key in single}
    check_keys(weights, expected, source)
    return weights


def save_checkpoint(model: CondInst, path: str | Path, *, half: bool = False) -> None:
    """Writes weights and config to one safetensors file, atomically.

    Args:
        model: the model to save.
        path: the file; its folder must exist.
        half: store parameters in half precision (running statistics stay as they are). Loading widens them again.
    """
    target = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if half:
        parameters = dict(model.named_parameters())
        state = {key: value.half() if key in parameters else value for key, value in state.items()}
    # The file is written like any other, so that the umask applies; the writer of safetensors would make it private.
    with atomic_write(target) as partial_file:
        partial_file.write_bytes(save(state, metadata={"format": "pt", CONFIG_KEY: model.config.to_json()}))
