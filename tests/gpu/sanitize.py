"""A selection for compute-sanitizer: every operator with CUDA kernels, forward and backward, on small samples.

The operators take turns, so that each has been checked when the time is over (COMMAND_DEADLINE, of `run.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest

import torch

from condinst.backends import backend_table
from condinst.ops.masks_to_rle.spec import check_rles
from condinst.testing import OpSpec, Sample, check_sample
from condinst.testing.specs import ALL_SPECS

Call = tuple[OpSpec, Sample]

# A sanitizer makes a kernel hundreds of times slower.
MOST_ELEMENTS = 20_000
SECONDS_TO_END = 8.0
"""Kept for the last call, and for what the sanitizer writes."""


def calls_in_turns(specs: Iterable[OpSpec], device: torch.device) -> list[Call]:
    """Small samples of the operators: the first of each, the second of each, and so on."""
    of_specs = [
        [
            (spec, sample)
            for dtype in (torch.float32, torch.float16)
            for sample in spec.samples(dtype, device)
            if 0 < sample.args[0].numel() <= MOST_ELEMENTS
        ]
        for spec in specs
    ]
    return [call for call in chain.from_iterable(zip_longest(*of_specs)) if call is not None]


def check_until(deadline: float, calls: Sequence[Call], check: Callable[[OpSpec, Sample], None]) -> int:
    """Check calls one after another; the number of them, which is that of all if the time (of `time.time`) suffices."""
    for done, call in enumerate(calls):
        if time.time() > deadline:
            return done
        check(*call)
    return len(calls)


def check_call(spec: OpSpec, sample: Sample) -> None:
    """Compare the CUDA kernels with the reference."""
    if spec.name == "masks_to_rle":
        check_rles("cuda", sample)
    else:
        check_sample(spec, "cuda", sample)


def main() -> None:
    """Check the samples; stop with the reason where there is nothing to check, or not each operator was."""
    rows = {row.op: row for row in backend_table() if row.backend == "cuda"}
    specs = [spec for spec in ALL_SPECS if rows[spec.name].status == "available"]
    for row in rows.values():
        if row.status != "available":
            print(f"{row.op}: {row.reason}")
    if not specs:
        raise SystemExit("no operator can run on the backend cuda")
    calls = calls_in_turns(specs, torch.device("cuda"))
    deadline = float(os.environ.get("COMMAND_DEADLINE", "inf")) - SECONDS_TO_END
    done = check_until(deadline, calls, check_call)
    print(f"{done} of {len(calls)} calls made, in turns over {len(specs)} operators; they agree with the reference")
    if done < len(specs):
        raise SystemExit("the time was over before each operator was called")


if __name__ == "__main__":
    main()
