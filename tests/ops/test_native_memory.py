"""Memory of the compiled code: calls leave nothing behind, and where memory runs out there is an exception."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from condinst import _host, ops
from condinst.backends import backend_table
from condinst.data.rles import encode_masks
from condinst.testing import OpSpec
from condinst.testing.specs import ALL_SPECS
from tests.memory import memory_limit

CPU = torch.device("cpu")
NATIVE = {row.op for row in backend_table() if row.backend == "cpp" and row.status == "available"}
WRITTEN = [spec for spec in ALL_SPECS if spec.name in NATIVE]
each_spec = pytest.mark.parametrize("spec", WRITTEN, ids=lambda spec: spec.name)

ROOT = Path(__file__).resolve().parents[2]

CALLS = 2000
SMALLEST_LEAK = 32 * CALLS
"""Bytes. malloc gives out no less than 32 at a time, header included."""


class _Mallinfo2(ctypes.Structure):
    """The struct of <malloc.h>."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def _bytes_in_use() -> int:
    """What malloc has given out and not got back, over all threads."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return info.uordblks + info.hblkhd


needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2") or "libasan" in os.environ.get("LD_PRELOAD", ""),
    reason="needs glibc's malloc, of 2.33 or newer",
)


def _check_growth(call: Callable[[], Any]) -> None:
    """Fail when `CALLS` calls leave half of the smallest leak behind; the other half is for what else is going on."""
    for _ in range(50):  # caches of PyTorch, pools of threads
        call()
    gc.collect()
    before = _bytes_in_use()
    for _ in range(CALLS):
        call()
    gc.collect()
    assert _bytes_in_use() - before < SMALLEST_LEAK / 2


@pytest.fixture
def one_thread(keep_threads: None) -> None:
    """Threads that wait for one another take the time of what else runs on the machine."""
    torch.set_num_threads(1)


@needs_glibc
@each_spec
def test_operators_leave_nothing_behind(spec: OpSpec, one_thread: None) -> None:
    """Forward and backward operators, on the first of their small calls."""
    first = dict(reversed(spec.native_calls(CPU)))
    for name, args in first.items():
        _check_growth(partial(getattr(torch.ops.condinst, name), *args))


@needs_glibc
@each_spec
def test_refusals_leave_nothing_behind(spec: OpSpec) -> None:
    name, args = spec.native_calls(CPU)[0]
    operator = getattr(torch.ops.condinst, name)
    wrong = (args[0][None], *args[1:])

    def call() -> None:
        with pytest.raises(RuntimeError):
            operator(*wrong)

    _check_growth(call)


@needs_glibc
def test_run_lengths_leave_nothing_behind() -> None:
    codes = encode_masks(torch.rand(3, 9, 11) < 0.5)
    sizes = np.array([code["size"] for code in codes])
    counts = [code["counts"] for code in codes]
    places = np.arange(9)
    _check_growth(lambda: _host.rle_pixels(sizes, counts, places, places))
    _check_growth(lambda: _host.rle_moments(sizes, counts))
    _check_growth(lambda: (_host.build_info(), _host.cpu_features(), _host.cpu_isa()))

    def refused() -> None:
        with pytest.raises(ValueError):
            _host.rle_moments(sizes, [*counts[:2], b"o"])

    _check_growth(refused)


@needs_glibc
def test_a_leak_is_seen() -> None:
    malloc = ctypes.CDLL(None).malloc
    with pytest.raises(AssertionError):
        _check_growth(lambda: malloc(1))


def test_the_height_of_a_mask_takes_no_memory() -> None:
    """It is a number in a file: nine bytes of run lengths took 16 GB."""
    height = 2**31 - 1
    counts = b"0" + b"oooooo1"  # no background, and `height` of foreground
    with memory_limit(32 << 20):
        pixels = _host.rle_pixels(np.array([[height, 1]]), [counts], np.array([0, 5, height - 1, height]), np.arange(2))
        assert pixels.tolist() == [[[True, False]] * 3 + [[False, False]]]
        assert _host.rle_moments(np.array([[height, 1]]), [counts])[0, 0] == height


def test_more_pixels_than_an_integer_holds() -> None:
    counts, places = [b"01"] * (1 << 16), np.zeros(1 << 24, np.int64)
    with pytest.raises(ValueError, match="rows, columns: expected less than 2"):
        _host.rle_pixels(np.ones((1 << 16, 2), np.int64), counts, places, places)


# Small results, and scratch memory of more than 32 MiB for each thread: glibc takes as much from the system each time.


def _wide_masks() -> Any:
    logits = torch.zeros(2, 3600, 3600, dtype=torch.float16)
    return lambda: ops.masks_to_image(logits, network_size=(14400, 14400), output_size=(8, 8), backend="cpp")


def _wide_run_lengths() -> Any:
    logits = torch.zeros(2, 3600, 3600, dtype=torch.float16)
    return lambda: ops.masks_to_rle(logits, network_size=(14400, 14400), output_size=(8, 8), backend="cpp").areas


def _wide_semantics() -> Any:
    """Rows of 150 channels of cells."""
    masks, scores, images = torch.zeros(1, 1, 20000), torch.ones(1), torch.zeros(1, dtype=torch.int64)
    semantics = torch.zeros(1, 150, 1, 20000)
    sizes: dict[str, Any] = {"network_sizes": [(4, 80000)], "output_sizes": [(8, 8)], "num_thing_channels": 1}
    return lambda: ops.panoptic_merge(masks, scores, images, semantics, **sizes, backend="cpp").ids


def _wide_features() -> Any:
    """Rows of hidden layers as long as the map is wide."""
    features, params = torch.zeros(1, 8, 1, 300_000), torch.zeros(2, 169, requires_grad=True)
    args = (torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), torch.ones(2))
    logits = ops.dynamic_mask_head(features, params, *args, upsample_factor=1, backend="cpp")
    return lambda: torch.autograd.grad(logits.sum(), params, retain_graph=True)[0]


WIDE_CALLS: dict[str, Callable[[], Any]] = {
    "masks_to_image": _wide_masks,
    "masks_to_rle": _wide_run_lengths,
    "panoptic_merge": _wide_semantics,
    "dynamic_mask_head": _wide_features,
}


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer ends the process")
def test_memory_that_runs_out_in_a_thread_is_an_exception() -> None:
    """In a process of its own: memory that other tests freed would be enough."""
    code = "from tests.ops.test_native_memory import run_out_of_memory; run_out_of_memory()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == list(WIDE_CALLS)


def run_out_of_memory() -> None:
    """Make each of the wide calls with too little memory; some fail, and the next call is not harmed."""
    torch.set_num_threads(2)
    for name, make in WIDE_CALLS.items():
        call = make()
        expected = call()  # starts the threads
        failures = 0
        for megabytes in (1, 8, 24):
            with memory_limit(megabytes << 20):
                try:
                    call()
                except (RuntimeError, MemoryError):
                    failures += 1
        assert failures > 0, name
        assert torch.equal(call(), expected), name
        del call, expected
        if hasattr(ctypes.CDLL(None), "malloc_trim"):  # glibc's, so that the next call has no memory of this one
            ctypes.CDLL(None).malloc_trim(0)
        print(name)
