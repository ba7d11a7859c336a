"""Triton functions that the kernels of several operators share."""
