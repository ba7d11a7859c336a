"""Times `dynamic_mask_loss`, forward and backward: ``python benchmarks/bench_dynamic_mask_loss.py``."""

from __future__ import annotations

from studies.program import Program, make_parser


def main() -> None:
    """Time what was chosen, print tables, and keep the rows."""
    program = Program(make_parser(__doc__))
    device = program.device()

    from condinst.benchmarking.tables import instances_tables
    from studies.mask_loss import INSTANCES, measure_mask_loss, sample_name

    instances = program.choose({f"training: {sample_name(count)}": count for count in INSTANCES})
    study = measure_mask_loss(device, instances=instances, compiled=min(INSTANCES) in instances, progress=print)
    for table in instances_tables(study.rows):
        print(f"\n{table.markdown()}")
    for left_out in study.not_measured:
        print(f"\n{left_out}")
    program.keep(study.rows)


if __name__ == "__main__":
    main()
