"""Builds the models of a table of the paper and times them, beside the authors' figures.

``python benchmarks/paper_tables.py --table 8``. Weights are random, so there is no AP here: sizes and times are what
counts. Each image has 100 instances, which are planted. Models take turns, so that their ratios can be trusted.
"""

from __future__ import annotations

import argparse

from studies.program import ROOT, Program, make_parser, positive


def main() -> None:
    """Measure the table, and print and write it."""
    parser = make_parser(__doc__, out=ROOT / "outputs/paper", out_holds="the table as table_N.json")
    parser.add_argument("--table", type=int, required=True, metavar="N", help="1 to 6, 8, 10 or 11")
    parser.add_argument(
        "--size",
        type=height_width,
        metavar="HxW",
        help="height and width of the image; by default 800x1088, in Table 8 512x704, in 11 1024x2048",
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, help="timings of each model, and a third of those of its mask head"
    )
    program = Program(parser)
    options, device = program.options, program.device()

    from condinst.files import write_json
    from studies.paper import measure_table, paper_rows

    rows = program.choose({row.name: row for row in paper_rows(options.table)})
    table = measure_table(options.table, device, rows=rows, size=options.size, rounds=options.rounds, progress=print)
    print(f"\n{table.text().markdown()}\n")
    print("per instance: filters of one mask head; head: of 100 instances; image: to the run lengths of 100 masks")
    print(f"{table.about['device']}, torch {table.about['torch']}; the paper's images on a V100")
    write_json(program.out / f"table_{options.table}.json", table.json_ready())


def height_width(text: str) -> tuple[int, int]:
    """The two numbers of HxW, for argparse."""
    numbers = [int(word) for word in text.split("x")]
    if len(numbers) != 2 or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected HxW, both at least 1, got {text!r}")
    return numbers[0], numbers[1]


if __name__ == "__main__":
    main()
