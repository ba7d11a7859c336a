"""CondInst: conditional convolutions for instance segmentation, with kernels of its own.

The operators are registered with PyTorch when the package is imported; all other public names load on first use. The
command line loads the operators on first use, too, so that ``condinst --help`` does not wait for PyTorch.
``__init__.pyi`` lists the public names for editors and type checkers.
"""

import sys as _sys
from importlib import import_module as _import_module
from pathlib import Path as _Path

__version__ = "0.1.0"

_MODULES = {
    "CheckpointError": "condinst.models.checkpoints",
    "Classes": "condinst.classes",
    "CondInst": "condinst.models",
    "CondInstConfig": "condinst.models",
    "config_names": "condinst.models",
    "load": "condinst.models.checkpoints",
    "load_backbone": "condinst.models.checkpoints",
    "load_config": "condinst.models",
    "save_checkpoint": "condinst.models.checkpoints",
    "use_backend": "condinst.backends",
}
"""Where each public name is defined; tests/test_imports.py compares it with ``__init__.pyi``."""

_PACKAGES = ("backends", "data", "engine", "evaluation", "models", "ops", "visualization")
"""What can be reached as an attribute without an import of its own."""

__all__ = ["__version__", "ops", *_MODULES]


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return _import_module(f"condinst.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'condinst' has no attribute {name!r}")
    value = getattr(_import_module(_MODULES[name]), name)
    globals()[name] = value  # an ordinary attribute from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})


def _is_command_line() -> bool:
    """Whether this process is ``condinst ...`` or ``python -m condinst.cli ...``."""
    program = getattr(_sys, "argv", [""])[0]
    return program == "-m" or _Path(program).stem == "condinst"


if not _is_command_line():
    from . import ops  # noqa: F401  (torch.ops.condinst is complete after `import condinst`)
