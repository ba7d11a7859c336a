"""Times every built-in model with random weights at its test size: ``python benchmarks/bench_models.py [CONFIG ...]``.

Each finds 100 instances, see `studies.whole_model`. Half a minute each on one core; all are in memory
together, 5 GB.
"""

from __future__ import annotations

from studies.program import Program, make_parser


def main() -> None:
    """Time what was chosen, and keep the rows."""
    parser = make_parser(__doc__)
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="built-in models; by default all")
    program = Program(parser)
    device = program.device()

    from condinst import config_names
    from condinst.benchmarking.results import times_text
    from studies.whole_model import measure_models

    names = program.choose({name: name for name in program.options.configs or config_names()})
    rows = measure_models(device, names, rounds=20 if device.type == "cuda" else 3, progress=print)
    for row in rows:
        print(f"{row.sample}: {times_text(row)} ms (wall {row.p20_ms:.1f} to {row.p80_ms:.1f}), {row.peak_mib:.0f} MiB")
    program.keep(rows)


if __name__ == "__main__":
    main()
