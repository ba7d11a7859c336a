"""Backends: the registry that chooses one for a call, and what makes kernels into PyTorch operators."""

from .registry import BACKENDS, BackendStatus, backend_table, register, select, use_backend

__all__ = ["BACKENDS", "BackendStatus", "backend_table", "register", "select", "use_backend"]
