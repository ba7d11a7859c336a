"""Limits of the memory of this process, for tests of what asks for too much of it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """No more than `extra` bytes of address space beside what is in use.

    The threads of PyTorch are two, and are started before. A thread takes some MiB of addresses for its stack and its
    heap, and on a machine with many cores these alone could exceed the limit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.zeros(1 << 20).sin_()
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        torch.set_num_threads(threads)
