"""Times `masks_to_rle` alone, after the mask head and in predictions: ``python benchmarks/bench_masks_to_rle.py``.

Beside it AdelaiDet's chain. The masks are those of the packaged model on a bundled image whose short side is brought to
800 pixels, blobs, and random logits, the worst case.
"""

from __future__ import annotations

from studies.program import ROOT, Program, make_parser

IMAGE = ROOT / "examples/nuclei/da5f98f2b8a64eee.jpg"


def main() -> None:
    """Time what was chosen, and keep the rows."""
    program = Program(make_parser(__doc__))
    device = program.device()

    import condinst
    from condinst.benchmarking.results import times_text
    from studies.masks import Case, made_cases, measure_groups, measure_masks, measure_predict, model_case

    of_model, groups, predictions = "masks_to_rle: masks of the model", "head + masks_to_rle", "model.predict"
    made = {f"masks_to_rle: {case.name}": case for case in made_cases(device)}
    chosen = program.choose({**made, **{name: name for name in (of_model, groups, predictions)}})
    cases = [case for case in chosen if isinstance(case, Case)]
    around = []
    if len(chosen) > len(cases):
        model = condinst.load(
            "condinst_nano",
            device=device,
            max_detections=100,
            mask_output_stride=4,
            min_size_test=800,
            max_size_test=1088,
        )
        if of_model in chosen:
            cases = [model_case(model, IMAGE), *cases]
        around += measure_groups(model, IMAGE) if groups in chosen else []
        around += measure_predict(model, IMAGE) if predictions in chosen else []
    rows = measure_masks(device, cases, progress=print)
    for row in around:
        print(f"{row.op}, {row.sample}, {row.variant}: {times_text(row)} ms, {row.ratio} x")
    program.keep(rows + around)


if __name__ == "__main__":
    main()
