"""Measures the peak memory of a call: by PyTorch's allocators, and by the operating system."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .timing import Call

MIB = 2**20
CLEAR_REFS = Path("/proc/self/clear_refs")
# The profiler reads this at its first use; without it, every measurement would write lines to stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

PRELOADED = ("condinst.", "studies.")
"""The prefixes of the modules that a measuring process preloads: the package, and the studies of benchmarks/."""


def allocator_peak_mib(call: Call, device: torch.device) -> float:
    """The peak memory of a call in MiB, beyond the memory before it, by PyTorch's allocators."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    kineto = profiler.profiler
    assert kineto is not None and kineto.kineto_results is not None
    changes = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(held, default=0) / MIB


def resident_peak_mib(make_call: Callable[..., Call], *args: Any) -> float | None:
    """The peak growth in MiB of a new process during a call, by any allocator.

    The call runs once before the measurement, so that the code it loads and compiles does not count. Then malloc
    returns its free memory to the system.

    Args:
        make_call: a function of a module, called with `args` in the new process.
        *args: arguments that can be pickled.

    Returns:
        None if the operating system is not Linux.
    """
    if not sys.platform.startswith("linux") or not CLEAR_REFS.exists():
        return None
    # Processes are forked from a server that has only imported the same modules, so they start at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.startswith(PRELOADED)))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, torch.get_num_threads(), make_call, args), daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process that measures memory ended with status {process.exitcode}") from None
    finally:
        process.join()


def _measure(sender: Any, num_threads: int, make_call: Callable[..., Call], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(num_threads)
    call = make_call(*args)
    call()
    _give_back_free_memory()
    try:
        CLEAR_REFS.write_text("5")  # this resets the peak to the memory in use
    except OSError:
        sender.send(None)
        return
    before = _status_kib("VmRSS")
    call()
    sender.send((_status_kib("VmHWM") - before) / 1024)


def _give_back_free_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
