"""The specifications of all operators: ``condinst/ops/<op>/spec.py``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from condinst.ops import OPERATORS

from .spec import OpSpec


def load_spec(op: str) -> OpSpec:
    """The specification of one operator."""
    spec: OpSpec = import_module(f"condinst.ops.{op}.spec").SPEC
    return spec


ALL_SPECS = tuple(load_spec(op) for op in OPERATORS if find_spec(f"condinst.ops.{op}.spec") is not None)
"""The specifications of all operators with kernels."""

SPECS = tuple(spec for spec in ALL_SPECS if spec.returns_tensors)
"""The specifications of the operators whose results `check_sample` can compare."""
