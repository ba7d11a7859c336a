"""Specifications of the operators, used by the tests and by the benchmarks: ``condinst/ops/<op>/spec.py``."""

from importlib import import_module

from condinst.ops import OPERATORS

from .compare import Results, check, check_sample, check_tensor, in_float64, run
from .spec import BadInput, OpSpec, Sample, Tolerance


def load_spec(op: str) -> OpSpec:
    """The specification of one operator."""
    spec: OpSpec = import_module(f"condinst.ops.{op}.spec").SPEC
    return spec


SPECS = tuple(spec for op in OPERATORS if (spec := load_spec(op)).returns_tensors)
"""Of all operators whose results `check` can compare."""

__all__ = [
    "SPECS",
    "BadInput",
    "OpSpec",
    "Results",
    "Sample",
    "Tolerance",
    "check",
    "check_sample",
    "check_tensor",
    "in_float64",
    "load_spec",
    "run",
]
