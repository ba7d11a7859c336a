"""What Triton's launcher does in Python before it compiles and runs a kernel, for every kernel and without a GPU.

The interpreter and ahead-of-time compilation go around the launcher, which binds the arguments in a function that it
generates. A kernel argument that has the name of a variable of that function breaks every launch on a GPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from condinst.backends.launch import kernels
from condinst.backends.registry import TRITON_INTERPRETED

from .triton_launches import CALLS, Device, read_kernel_names, record_launches

triton = pytest.importorskip("triton", reason="needs Triton")
tl = triton.language

pytestmark = pytest.mark.skipif(TRITON_INTERPRETED, reason="the interpreter has no launcher")

POINTERS = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.uint8: "*u8",
    torch.int64: "*i64",
}


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Lets kernels be launched up to where they would be compiled, and holds the types of their arguments by name."""
    signatures: list[dict[str, str]] = []

    def stop(kernel: Any, key: str, signature: dict[str, str], *others: Any) -> None:
        signatures.append(signature)

    monkeypatch.setattr(triton.runtime.driver, "_active", Device(90))
    monkeypatch.setattr(triton.JITFunction, "_do_compile", stop)
    return signatures


@pytest.mark.parametrize("name", CALLS)
def test_the_launcher_binds_the_arguments(
    name: str, bound: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kernel, args, constants in record_launches(monkeypatch, name):
        kernel[(1,)](*args, **constants)
        signature = bound.pop()
        assert list(signature) == kernel.arg_names
        for argument, value in zip(kernel.arg_names, args, strict=False):
            if isinstance(value, torch.Tensor):
                assert signature[argument] == POINTERS[value.dtype]
        assert {signature[argument] for argument in kernel.arg_names[len(args) :]} <= {"constexpr"}


def test_every_kernel_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = [kernel for name in CALLS for kernel, _, _ in record_launches(monkeypatch, name)]
    assert {(kernel.__module__.rpartition(".")[2], kernel.__name__) for kernel in launched} == read_kernel_names()


@triton.jit
def store_zero(params):
    """A kernel whose argument has the name of a variable of the function that the launcher generates."""
    tl.store(params, 0)


def test_an_argument_with_a_name_of_the_launcher_is_noticed(bound: list[dict[str, str]]) -> None:
    *_, generated = kernels("pack_masks").pack_masks_words.create_binder()
    code = generated.__code__
    if "params" in code.co_varnames[code.co_argcount :]:  # Triton 3.6 to 3.8
        with pytest.raises(TypeError, match="failed to specialize argument of type: dict"):
            store_zero[(1,)](torch.zeros(1))
    else:
        store_zero[(1,)](torch.zeros(1))
        assert bound == [{"params": "*fp32"}]
