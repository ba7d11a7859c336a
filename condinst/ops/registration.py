"""Registers every operator with every backend that it is written for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from condinst.backends.native import register_native
from condinst.backends.registry import decline, register
from condinst.backends.triton import register_triton


def register_operators(names: Iterable[str]) -> None:
    """Register the reference, the kernels of the operator library and the Triton kernels of each operator.

    Args:
        names: folders of this package. ``reference.py`` defines the operator. ``autograd.py`` makes PyTorch operators
            of its kernels: ``register(namespace)`` returns a function with the signature of the reference, and
            ``unsupported_reason`` says which calls the kernels of the operator library cannot do. ``triton.py`` defines
            the operators of the Triton kernels, and may define another ``unsupported_reason`` for them. If Triton makes
            no sense for an operator, ``NOT_IN_TRITON`` in ``autograd.py`` says why.
    """
    for name in names:
        register(name, "reference", getattr(import_module(f".{name}.reference", __package__), name))
        autograd = _module(name, "autograd")
        if autograd is None:
            continue
        register_native(name, autograd.register, getattr(autograd, "unsupported_reason", None))
        triton = _module(name, "triton")
        if triton is None:
            reason = getattr(autograd, "NOT_IN_TRITON", None)
            if reason is not None:  # otherwise the registry says that it is not written yet
                decline(name, "triton", f"not made in Triton: {reason}")
        else:
            register_triton(name, autograd.register, getattr(triton, "unsupported_reason", None))


def _module(operator: str, part: str) -> ModuleType | None:
    name = f"{__package__}.{operator}.{part}"
    return None if find_spec(name) is None else import_module(name)
