"""Times `dynamic_mask_head`: ``python benchmarks/bench_dynamic_mask_head.py``.

The study of ``condinst benchmark mask-head``, with torch.compile at every number of instances, and with rows that stay.
"""

from __future__ import annotations

from studies.program import Program, make_parser


def main() -> None:
    """Time what was chosen, print tables, and keep the rows."""
    program = Program(make_parser(__doc__))
    device = program.device()

    from condinst.benchmarking.mask_head import mask_head_points, measure_mask_head
    from condinst.benchmarking.study import Limits
    from condinst.benchmarking.tables import mask_head_tables

    compiled = "all" if device.type == "cpu" else "one"  # `make gpu` has a minute for each program
    points = program.choose({f"{point.study}: {point.sample}": point for point in mask_head_points(compiled=compiled)})
    limits = Limits(seconds_per_setting=15.0)
    study = measure_mask_head(device, points, rounds=15, limits=limits, progress=print).study
    for table in mask_head_tables(study.rows):
        print(f"\n{table.markdown()}")
    for left_out in study.not_measured:
        print(f"\n{left_out}")
    program.keep(study.rows)


if __name__ == "__main__":
    main()
