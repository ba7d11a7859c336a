"""Times a training step and its losses alone, with our kernels and with the reference.

``python benchmarks/bench_training_step.py``. ResNet-50, two images of 800 x 1088; a step takes seconds on a CPU.
"""

from __future__ import annotations

from studies.program import Program, make_parser


def main() -> None:
    """Time what was chosen, print tables, and keep the rows."""
    program = Program(make_parser(__doc__))
    device = program.device()

    from condinst import load_config
    from studies.tables import samples_table
    from studies.training_step import SETTINGS, measure_training_step

    settings = program.choose({f"{op}: {rule}": (op, rule) for op, rule in SETTINGS})
    rows = measure_training_step(device, load_config("condinst_r50_1x"), settings=settings, progress=print)
    for op in dict.fromkeys(row.op for row in rows):
        print(f"\n{samples_table([row for row in rows if row.op == op]).markdown()}")
    program.keep(rows)


if __name__ == "__main__":
    main()
