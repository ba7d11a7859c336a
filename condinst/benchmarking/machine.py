"""Describes the machine: its model, the backends it can run, and its best rates of computing and moving bytes."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from pathlib import Path

import torch

import condinst
from condinst.backends import BACKENDS, backend_table
from condinst.backends.registry import DEVICES
from condinst.precision import why_emulated

from .timing import Call, clock_for

PACKAGE_ROOT = Path(condinst.__file__).resolve().parents[1]


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the CPU with its instructions and the number of threads.

    The model of a virtual CPU may be as vague as "AMD EPYC", which does not tell AVX2 from AVX-512.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    instructions = torch.backends.cpu.get_cpu_capability()
    if why_emulated("bf16-mixed", device) is None:
        instructions += " with bfloat16"
    return f"{models[0] if models else platform.machine()}, {instructions}, {torch.get_num_threads()} threads"


def about(device: torch.device) -> dict[str, str | int]:
    """The context of a timing: date (which also identifies the run), commit, versions and device."""
    return {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "commit": _commit(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def available_backends(op: str, device: torch.device) -> list[str]:
    """The backends that can run an operator on a device; the reference is the first."""
    available = {row.backend for row in backend_table() if row.op == op and row.status == "available"}
    return ["reference"] + [b for b in BACKENDS if b in available and device.type in DEVICES.get(b, ())]


def _commit() -> str:
    """The commit of a checkout, or the version of an installed package."""
    if not (PACKAGE_ROOT / ".git").exists():
        return condinst.__version__
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    described = subprocess.run(words, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    return described.stdout.strip() or condinst.__version__


def read_bytes_per_second(device: torch.device) -> float:
    """The best measured rate of reading a quarter of a gigabyte."""
    data = torch.ones(2**26, device=device)
    return data.nbytes / _shortest_seconds(data.sum, device)


def multiply_adds_per_second(device: torch.device) -> float:
    """The best measured rate of a float32 product of two matrices, in multiply-adds (two operations each)."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    return size**3 / _shortest_seconds(lambda: a @ b, device)


def _shortest_seconds(call: Call, device: torch.device) -> float:
    """The shortest time of ten calls; on a GPU without the time of the host."""
    clock = clock_for(device)
    return min(clock.device_seconds(call) or clock.wall_seconds(call) for _ in range(10))
