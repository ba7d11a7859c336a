"""CondInst: conditional convolutions for instance segmentation, with kernels of its own."""

__version__ = "0.1.0"

from . import ops
from .backends import use_backend

__all__ = ["__version__", "ops", "use_backend"]
