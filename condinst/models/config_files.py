"""Configs in files: the built-in ones, and TOML of users."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from ..classes import Classes
from ..fields import did_you_mean, rename_old_fields
from ..messages import shorten, shorten_text
from .config import CondInstConfig

_MOST_BASES = 100  # far below Python's limit of recursion


def config_names() -> list[str]:
    """Names of the built-in configs, sorted."""
    return list(_config_names())


@functools.cache
def _config_names() -> tuple[str, ...]:
    names = (entry.name[: -len(".toml")] for entry in _config_files().iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(names))


def load_config(source: str | Path) -> CondInstConfig:
    """Reads a built-in config by its name, or a TOML file by its path.

    A file holds fields of `CondInstConfig`; `base = "name"` starts from another built-in config. How a model is trained
    is in a table [training], see `load_training_table`.

    Raises:
        ValueError: for an unknown name, a file that is not a config, or a base that cannot be read; the message lists
            what there is.
        OSError: the file itself cannot be read.
    """
    fields = _read_fields(source)
    fields.pop("training", None)
    try:
        return CondInstConfig.from_file(fields)
    except ValueError as error:
        raise ValueError(f"config: {source}: {error}") from error


def coco_classes(num_classes: int) -> Classes:
    """COCO's classes for a foreign model of 80, whose file has no names; classes without names for any other number."""
    coco = load_config("condinst_r50_1x").classes
    return coco if num_classes == coco.num_classes else Classes(num_classes)


def load_training_table(source: str | Path) -> dict[str, Any]:
    """The table [training] of a config, with that of its base: fields of `condinst.engine.TrainingConfig`.

    Raises:
        ValueError: as `load_config`; and when [training] is no table.
    """
    return _read_fields(source).get("training", {})


def _read_fields(source: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """All fields of a config over those of its base; `above` are the files that it is the base of."""
    path = Path(source)
    where = f"config: {above[-1]}: base: " if above else "config: "
    if path.suffix == ".toml":
        try:
            if not path.is_file():
                raise ValueError(f"{where}no such file: {shorten_text(str(path))}")
            path = path.resolve()
            if path in above:
                raise ValueError(f"{where}{path} is its own base")
            if len(above) == _MOST_BASES:
                raise ValueError(
                    f"{where}{path} is the base of {_MOST_BASES} files, one after the other; expected fewer"
                )
            content, name = path.read_bytes(), Path(source).stem
        except OSError as error:  # also names that are too long to be one
            if not above:
                raise
            raise ValueError(f"{where}cannot read {shorten_text(str(path))}: {error.strerror}") from error
        above += (path,)
    else:
        name = str(source)
        if name not in config_names():
            raise ValueError(
                f"{where}expected a .toml file or one of {', '.join(config_names())}, got {shorten(name)}"
                f"{did_you_mean(name, config_names())}"
            )
        content = (_config_files() / f"{name}.toml").read_bytes()
    try:
        fields = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8, and lists in lists
        raise ValueError(f"config: {source} is not TOML: {error}") from error
    base = fields.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise ValueError(f"config: {source}: base: expected the name or the file of a config, got {shorten(base)}")
    if not isinstance(fields.get("training", {}), dict):
        raise ValueError(f"training: expected a table [training] in {source}, got {shorten(fields['training'])}")
    try:
        fields = rename_old_fields(CondInstConfig, fields)  # before the base is added, which may have the new names
    except ValueError as error:
        raise ValueError(f"config: {source}: {error}") from error
    inherited = {} if base is None else _read_fields(base, above)
    if "training" in inherited and "training" in fields:
        fields["training"] = inherited["training"] | fields["training"]
    # other classes have other names
    dropped = {name for number, names in Classes.DESCRIPTIONS.items() if number in fields for name in names}
    inherited = {key: value for key, value in inherited.items() if key not in dropped}
    return inherited | {"name": name} | fields


def _config_files() -> Any:
    return resources.files("condinst") / "configs"
