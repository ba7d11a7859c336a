"""Times steps of condinst_nano in each precision, with all instructions of this CPU and with fewer.

``python benchmarks/compare_precisions.py``: starts ``condinst train`` on `examples/nuclei`, one run after the other and
all of them several times, and writes `results/precisions.json`, of which ``report_training.py`` makes a table. It
measures processor time, because wall time depends on what else runs on the machine. Where a precision is emulated, a
step takes up to a minute, so that the whole takes an hour.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from studies.program import ROOT, Program, make_parser, positive

NUCLEI = ROOT / "examples/nuclei"
PRECISIONS = ("32-true", "bf16-mixed", "auto")
LIMITS: dict[str, dict[str, str]] = {
    "all of this CPU": {},
    "AVX-512 with bfloat16, no AMX": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "AVX-512 without bfloat16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX2 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX2 in oneDNN and PyTorch": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
"""Environment variables that leave a part of the instructions, by what is left."""


TRAIN = """
import atexit, time
from torch.optim.optimizer import register_optimizer_step_post_hook
from condinst.cli import main
times = []
register_optimizer_step_post_hook(lambda *_: times.append(time.process_time()))
atexit.register(lambda: print("seconds", *(after - before for before, after in zip(times, times[1:]))))
main()
"""
"""``condinst``, with the processor time between the ends of two steps printed at the end."""


def run(limit: dict[str, str], precision: str, steps: int) -> tuple[str, list[float]]:
    """One training on one thread. Returns the precision that was chosen, and seconds of each step but the first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = {"steps": steps, "num_workers": 0, "precision": precision}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-c", TRAIN, "train", "--config", "condinst_nano", "--device", "cpu"]
        command += ["--data", str(NUCLEI / "annotations.json"), "--out", str(out), *words]
        environment = os.environ | limit | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
        seconds = [float(word) for word in done.stdout.splitlines()[-1].split()[1:]]
        return json.loads((out / "training.json").read_text())["precision"]["name"], seconds


def main() -> None:
    """Measure all limits and precisions, and write the medians."""
    parser = make_parser(__doc__, out_holds="precisions.json, which is replaced", threads=False)
    parser.add_argument("--rounds", type=positive, default=2, help="runs of each kind")
    parser.add_argument("--steps", type=positive, default=4, help="of a run; the first does not count")
    program = Program(parser)
    options = program.options
    kinds = program.choose({f"{name}, {kind}": (name, kind) for name in LIMITS for kind in PRECISIONS})

    import torch

    from condinst.benchmarking.machine import about
    from condinst.files import atomic_write

    torch.set_num_threads(1)  # as the runs, for `about`
    chosen: dict[tuple[str, str], str] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(options.rounds):
        for name, precision in kinds:
            chosen[name, precision], of_run = run(LIMITS[name], precision, options.steps)
            seconds.setdefault((name, precision), []).extend(of_run)
            print(f"round {number + 1}, {name}, {precision}: {statistics.median(of_run):.2f} s a step", flush=True)
    rows: list[dict[str, Any]] = [
        {
            "instructions": name,
            "environment": LIMITS[name],
            "precision": precision,
            "chosen": chosen[name, precision],
            "median_seconds": round(statistics.median(of_kind), 3),
            "seconds": [round(value, 3) for value in of_kind],
        }
        for (name, precision), of_kind in seconds.items()
    ]
    program.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(program.out / "precisions.json") as path:
        path.write_text(json.dumps({**about(torch.device("cpu")), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
