"""A short selection for compute-sanitizer: every operator with CUDA kernels, forward and backward, on small samples."""

from __future__ import annotations

import torch

from condinst.backends import backend_table
from condinst.testing import SPECS, check_sample

# A sanitizer makes a kernel hundreds of times slower.
MOST_ELEMENTS = 20_000


def main() -> None:
    """Check the samples, or stop with the reason why there is nothing to check."""
    device = torch.device("cuda")
    reasons = {row.op: row for row in backend_table() if row.backend == "cuda"}
    calls = 0
    for spec in SPECS:
        if reasons[spec.name].status != "available":
            print(f"{spec.name}: {reasons[spec.name].reason}")
            continue
        for dtype in (torch.float32, torch.float16):
            for sample in spec.samples(dtype, device):
                if sample.args[0].numel() <= MOST_ELEMENTS:
                    check_sample(spec, "cuda", sample)
                    calls += 1
    if calls == 0:
        raise SystemExit("no operator can run on the backend cuda")
    print(f"{calls} calls agree with the reference")


if __name__ == "__main__":
    main()
