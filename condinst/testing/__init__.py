"""How the operators are tested and timed: what a specification is, and how a backend is compared with the reference."""

from .compare import Results, check, check_sample, check_tensor, in_float64, run
from .spec import BadInput, OpSpec, Sample, Tolerance

__all__ = [
    "BadInput",
    "OpSpec",
    "Results",
    "Sample",
    "Tolerance",
    "check",
    "check_sample",
    "check_tensor",
    "in_float64",
    "run",
]
