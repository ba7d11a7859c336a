"""Backends: the registry that chooses a backend for each call, and the registration of kernels as PyTorch operators."""

from .registry import BACKENDS, BackendStatus, backend_table, register, select, use_backend

__all__ = ["BACKENDS", "BackendStatus", "backend_table", "register", "select", "use_backend"]
