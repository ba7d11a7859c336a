"""Backends: the registry that chooses one for a call, and the adapters that make kernels into PyTorch operators."""

from .registry import BACKENDS, BackendStatus, backend_table, register, select, use_backend

# The adapters add themselves to the registry when they are imported.
from . import native, triton  # noqa: E402  isort:skip

__all__ = ["BACKENDS", "BackendStatus", "backend_table", "native", "register", "select", "triton", "use_backend"]
