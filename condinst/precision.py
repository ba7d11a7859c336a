"""Which precision a network computes in on a device: what "auto" stands for, and what is emulated there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

import torch

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
"""What a config may ask for; all but "auto" are Lightning Fabric's names."""

PRECISIONS: tuple[str, ...] = get_args(Precision)

_COST_ON_CPU = "about 17 times as long as 32-true was measured (a training step of condinst_nano on an AMD Zen 3)"

_ONEDNN_LIMITS_WITHOUT_BFLOAT16 = ("avx512_core", "avx512_core_vnni")
"""Values of ONEDNN_MAX_CPU_ISA with which oneDNN emulates bfloat16, and PyTorch still says that oneDNN supports it."""


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, and why it was chosen.

    Attributes:
        name: "32-true", "bf16-mixed" or "16-mixed".
        reason: a clause for the log.
        warning: what to warn the user of; empty for nothing.
    """

    name: str
    reason: str
    warning: str = ""


def choose_precision(precision: str, device: torch.device) -> PrecisionChoice:
    """The precision that a name stands for on a device.

    "auto" takes 16 bits where the device has instructions for them: bfloat16 on a CPU, bfloat16 or else float16 on a
    CUDA GPU. Elsewhere it takes float32. Any other name stands for itself, with a warning where it is emulated.

    Args:
        precision: one of `PRECISIONS`.
        device: where the network computes.

    Raises:
        ValueError: an unknown name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        emulated = why_emulated(precision, device)
        cost = "16-mixed needs no emulation" if device.type == "cuda" else _COST_ON_CPU
        warning = "" if emulated is None else f"{precision} is emulated: {emulated}; {cost}"
        return PrecisionChoice(precision, "chosen by name", warning)
    if device.type not in ("cpu", "cuda"):
        return PrecisionChoice("32-true", f"auto knows the instructions of CPUs and CUDA GPUs, not of {device.type}")
    emulated = why_emulated("bf16-mixed", device)
    if emulated is None:
        kind = "GPU" if device.type == "cuda" else "CPU"
        return PrecisionChoice("bf16-mixed", f"this {kind} has bfloat16 instructions")
    return PrecisionChoice("16-mixed" if device.type == "cuda" else "32-true", emulated)


def why_emulated(precision: str, device: torch.device) -> str | None:
    """Why a device has to emulate a precision; None where it need not, or where nothing is known about the device.

    Args:
        precision: one of `PRECISIONS` but "auto".
        device: where the network computes.
    """
    if precision != "bf16-mixed":
        return None
    if device.type == "cuda":
        return None if _gpu_has_bfloat16(device) else "this GPU has no bfloat16 instructions"
    return _why_cpu_emulates_bfloat16() if device.type == "cpu" else None


def _gpu_has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def _why_cpu_emulates_bfloat16() -> str | None:
    """The reason, or None where oneDNN computes convolutions and their gradients with bfloat16 instructions.

    Those are AVX512_BF16 and AMX, and every CPU with AMX has AVX512_BF16. Arm's do not count: oneDNN uses them for
    bfloat16 convolutions, but not for their gradients.
    """
    if not torch.cpu.get_capabilities().get("avx512_bf16", False):
        return "this CPU has no bfloat16 instructions that oneDNN can train with (AVX512_BF16, AMX)"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    # PyTorch asks this before it gives a bfloat16 convolution to oneDNN; otherwise it uses plain loops.
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not supported or limit.lower() in _ONEDNN_LIMITS_WITHOUT_BFLOAT16:
        cause = f"ONEDNN_MAX_CPU_ISA={limit}" if limit else "PyTorch was built without it"
        return f"oneDNN does not use the bfloat16 instructions of this CPU ({cause})"
    return None
