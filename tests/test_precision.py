"""Which precision "auto" takes: with stand-ins for PyTorch's queries, and beside what oneDNN says of itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condinst import precision
from condinst.precision import choose_precision, why_emulated

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A CPU with bfloat16 instructions, all of which oneDNN may use."""
    set_cpu(monkeypatch, has_bf16=True, supported=True)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def set_cpu(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool, supported: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has_bf16})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)


def set_gpu(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool) -> None:
    monkeypatch.setattr(precision, "_gpu_has_bfloat16", lambda device: has_bf16)


def test_bfloat16_where_the_cpu_has_instructions(cpu: pytest.MonkeyPatch) -> None:
    choice = choose_precision("auto", CPU)
    assert (choice.name, choice.warning) == ("bf16-mixed", "")
    assert choice.reason == "this CPU has bfloat16 instructions"
    assert choose_precision("bf16-mixed", CPU).warning == ""


@pytest.mark.parametrize(
    ("has_bf16", "supported", "limit", "reason"),
    [
        (False, False, "", "this CPU has no bfloat16 instructions"),  # AVX2, as Zen 3
        (False, True, "", "this CPU has no bfloat16 instructions"),  # AVX-512 without them, as Skylake
        (True, False, "", "PyTorch was built without it"),
        (True, False, "AVX2", "MAX_CPU_ISA=AVX2"),
        (True, True, "AVX512_CORE", "MAX_CPU_ISA=AVX512_CORE"),
        (True, True, "avx512_core_vnni", "MAX_CPU_ISA=avx512_core_vnni"),
    ],
)
@pytest.mark.parametrize("variable", VARIABLES)
def test_float32_where_the_cpu_would_emulate(
    cpu: pytest.MonkeyPatch, variable: str, has_bf16: bool, supported: bool, limit: str, reason: str
) -> None:
    set_cpu(cpu, has_bf16=has_bf16, supported=supported)
    cpu.setenv(variable, limit)
    choice = choose_precision("auto", CPU)
    assert (choice.name, choice.warning) == ("32-true", "") and reason in choice.reason
    asked = choose_precision("bf16-mixed", CPU)
    assert asked.name == "bf16-mixed"
    assert reason in asked.warning and "about 17 times as long as 32-true was measured" in asked.warning
    assert choose_precision("32-true", CPU).warning == ""


@pytest.mark.parametrize("limit", ["AVX512_CORE_BF16", "AVX512_CORE_AMX", "DEFAULT"])
def test_a_limit_that_leaves_bfloat16_changes_nothing(cpu: pytest.MonkeyPatch, limit: str) -> None:
    cpu.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert choose_precision("auto", CPU).name == "bf16-mixed"


def test_gpus_without_bfloat16_take_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, has_bf16=True)
    assert choose_precision("auto", GPU).name == "bf16-mixed"
    assert choose_precision("bf16-mixed", GPU).warning == ""
    set_gpu(monkeypatch, has_bf16=False)
    choice = choose_precision("auto", GPU)
    assert (choice.name, choice.reason) == ("16-mixed", "this GPU has no bfloat16 instructions")
    warning = choose_precision("bf16-mixed", GPU).warning
    assert "16-mixed needs no emulation" in warning and "17 times" not in warning
    assert why_emulated("16-mixed", GPU) is None


def test_devices_of_which_nothing_is_known_take_float32() -> None:
    choice = choose_precision("auto", torch.device("mps"))
    assert choice.name == "32-true" and "not of mps" in choice.reason
    assert choose_precision("bf16-mixed", torch.device("mps")).warning == ""


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="precision: expected one of auto, 32-true, bf16-mixed, 16-mixed, got 'fp8'"):
        choose_precision("fp8", CPU)


RUN_A_CONVOLUTION = """
import torch
from condinst.precision import choose_precision
print("choice:" + choose_precision("auto", torch.device("cpu")).name)
inputs, weight = torch.ones(2, 64, 32, 32, requires_grad=True), torch.ones(64, 64, 3, 3, requires_grad=True)
torch.nn.functional.conv2d(inputs.bfloat16(), weight.bfloat16()).sum().backward()
"""


@pytest.mark.parametrize(
    ("variable", "limit"),
    [
        ("ONEDNN_MAX_CPU_ISA", ""),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16"),
        ("DNNL_MAX_CPU_ISA", "avx512_core_vnni"),
    ],
)
def test_the_choice_is_what_onednn_runs(variable: str, limit: str) -> None:
    """Its log names the kernels of a bfloat16 convolution and of both gradients, with their instruction sets."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {variable: limit, "ONEDNN_VERBOSE": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", RUN_A_CONVOLUTION]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    (choice,) = re.findall(r"choice:(\S+)", done.stdout)
    kernels = re.findall(r",convolution,([^,]+),(?:forward|backward)", done.stdout)  # none where PyTorch's loops run
    has_instructions = len(kernels) == 3 and all(re.search("amx|avx512_core_bf16|avx10", kernel) for kernel in kernels)
    assert choice == ("bf16-mixed" if has_instructions else "32-true"), kernels
