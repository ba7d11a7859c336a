"""Times `decode_detections`, and all post-processing with `nms`: ``python benchmarks/bench_decode_detections.py``.

The floor of the operator is reading the class logits once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.program import Program, make_parser

if TYPE_CHECKING:
    from condinst.testing import Sample


def bytes_moved(sample: Sample) -> dict[str, int]:
    """The least traffic to memory, by direction."""
    return {"forward": sample.args[0].nbytes}


def main() -> None:
    """Time what was chosen, and keep the rows."""
    program = Program(make_parser(__doc__))
    device = program.device()

    from condinst.ops.decode_detections.spec import SPEC
    from studies.detection import BATCH_SIZES, STUDY, measure_post_processing, sample_name
    from studies.operators import OperatorSetting, measure_operator, operator_settings

    post_processing = {f"{STUDY}: {sample_name(batch_size)}": batch_size for batch_size in BATCH_SIZES}
    settings = operator_settings(SPEC, bytes_moved, ("float32", "bfloat16", "float16"), device)
    chosen = program.choose({**settings, **post_processing})
    measured = measure_operator(SPEC, [setting for setting in chosen if isinstance(setting, OperatorSetting)], device)
    batch_sizes = [batch_size for batch_size in chosen if isinstance(batch_size, int)]
    program.keep(measured.rows + measure_post_processing(device, batch_sizes=batch_sizes, progress=print))
    measured.raise_refused()


if __name__ == "__main__":
    main()
