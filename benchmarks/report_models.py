"""Writes the table of the built-in models into docs/models.md: ``python benchmarks/report_models.py``.

Times are the last of each model in ``results/``; ``bench_models.py`` adds them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from condinst import CondInst, CondInstConfig, config_names, load_config
from condinst.benchmarking.results import Row
from condinst.benchmarking.tables import MISSING, TextTable
from condinst.models.checkpoints.adelaidet import detect_config
from studies.pages import block_part
from studies.program import RESULTS, ROOT, Program, make_report_parser
from studies.rows import read_rows
from studies.whole_model import OP, STUDY, input_size, multiply_adds, num_parameters

GOLDENS = ROOT / "tests/goldens"

IN_THE_PAPER = {
    "condinst_r50_1x": "35.9 (Table 7; 35.6 on val2017)",
    "condinst_r50_1x_p2": "36.0 on val2017 (Table 4)",
    "condinst_r50_3x": "37.7 (Table 7)",
    "condinst_r50_3x_sem": "38.6 (Table 7)",
    "condinst_r101_3x": "39.1 (Table 7)",
    "condinst_r101_3x_sem": "40.0 (Table 7)",
    "condinst_r101_bifpn_3x_sem": "40.5 (Table 7)",
    "condinst_r101_dcn_bifpn_3x_sem": "41.3 (Table 7)",
    "condinst_rt_r50_shared": "36.0 (Table 8)",
    "condinst_rt_dla34_shared": "35.8 (Table 8)",
    "condinst_rt_dla34": "36.3 (Table 8)",
    "condinst_r50_cityscapes": "33.3 val, 28.6 test; from COCO 37.5, 33.2 (Table 9)",
    "condinst_r50_cityscapes_sem": "33.9 val, 28.6 test; from COCO 37.7, 33.7 (Table 9)",
    "condinst_r101_dcn_bifpn_cityscapes_sem": "from COCO 39.3 val, 33.9 test (Table 9)",
    "condinst_r50_1x_panoptic": "PQ 42.1 (Table 10)",
    "condinst_r50_3x_panoptic": "PQ 44.6 (Table 10)",
    "condinst_r101_3x_panoptic": "PQ 46.1 (Table 10)",
    "condinst_r101_dcn_3x_panoptic": "PQ 47.8 (Table 10)",
    "condinst_r50_cityscapes_panoptic": "PQ 61.7 val (Table 11)",
}
"""The authors' mask AP, or PQ, in percent; of COCO models on test-dev unless it says otherwise."""

IN_ADELAIDET = {
    "condinst_r50_1x": "39.7 / 35.7",
    "condinst_r50_3x": "41.9 / 37.5",
    "condinst_r50_3x_sem": "42.6 / 38.2",
    "condinst_r101_3x": "43.3 / 38.6",
    "condinst_r101_3x_sem": "44.6 / 39.8",
    "condinst_r50_bifpn_1x": "42.5 / 37.3",
    "condinst_r50_bifpn_3x": "44.3 / 38.9",
    "condinst_r50_bifpn_3x_sem": "44.7 / 39.4",
    "condinst_r101_bifpn_3x": "45.3 / 39.6",
    "condinst_r101_bifpn_3x_sem": "45.7 / 40.2",
}
"""Box and mask AP on val2017 of the checkpoints in AdelaiDet's README (numerics 1.17)."""

EVERY_CONFIG = "`test_configs_run.py`"


def main() -> None:
    """Rewrite the table."""
    Program(make_report_parser(__doc__)).write_parts([block_part("docs/models.md", "models", table_blocks)])


def table_blocks() -> list[str]:
    """The table, and where the times come from."""
    times = _times()
    columns = [
        "config",
        "mask AP or PQ in the paper",
        "AdelaiDet, box / mask AP",
        "parameters",
        "GFLOPs",
        "input",
        "ms here",
        "tested by",
    ]
    cells = [_line(name, times.get(name)) for name in config_names()]
    blocks = [TextTable("The built-in models", columns, cells).markdown()]
    if times:
        row = max(times.values(), key=lambda row: row.date)
        blocks.append(f"Times: {row.device}, torch {row.torch}, commit {row.commit}, {row.date[:10]}.")
    return blocks


def _line(name: str, time: Row | None) -> list[str]:
    config = load_config(name)
    size = input_size(config)
    with torch.device("meta"):
        parameters = num_parameters(CondInst(config))
    return [
        f"`{name}`",
        IN_THE_PAPER.get(name, "-"),
        IN_ADELAIDET.get(name, "-"),
        f"{parameters / 1e6:.2f} M",
        f"{multiply_adds(config, size) / 1e9:.1f}",
        f"{size[0]} x {size[1]}",
        MISSING if time is None else f"{time.p50_ms:.0f}",
        _tested_by(config),
    ]


def _times() -> dict[str, Row]:
    """The last row of each model, from the file of a CPU with the newest one."""
    found = [
        {row.sample: row for row in read_rows(path) if (row.op, row.study) == (OP, STUDY) and row.device_ms is None}
        for path in sorted(RESULTS.glob("*.csv"))
    ]
    return max(found, key=lambda rows: max((row.date for row in rows.values()), default=""), default={})


def _tested_by(config: CondInstConfig) -> str:
    """The recordings and the key lists of AdelaiDet's models that are this network, and the test of all configs."""
    own = _shapes(config)
    exact, at_inference = [], []
    for path in sorted(path for path in GOLDENS.glob("*.tsv") if not path.name.startswith("mmdet")):
        theirs = _shapes(detect_config(_state(path), path.name))
        if theirs == own:
            exact.append(path.name)
        elif _without_semantic(theirs) == _without_semantic(own):
            at_inference.append(path.name)
    names = [name for keys in exact for name in _recordings(keys)]
    if not exact and at_inference:
        names = [f"{name} except for the semantic branch" for keys in at_inference for name in _recordings(keys)]
    return ", ".join([*names, EVERY_CONFIG])


def _recordings(keys: str) -> list[str]:
    """The recordings made with a key list, or the list itself where there is none."""
    metas = {path.stem: json.loads(str(np.load(path)["meta_json"])) for path in sorted(GOLDENS.glob("*.npz"))}
    return [f"`{name}`" for name, meta in metas.items() if meta["keys"] == keys] or [f"keys `{keys}`"]


def _state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict without values from a key list."""
    state = {}
    for line in path.read_text().splitlines():
        key, shape, dtype = line.split("\t")
        sides = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        state[key] = torch.empty(sides, dtype=getattr(torch, dtype), device="meta")
    num_levels = len(state["mask_head.sizes_of_interest"])
    state["mask_head.sizes_of_interest"] = 64 * 2 ** torch.arange(num_levels)  # the one value that is read
    return state


def _shapes(config: CondInstConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in CondInst(config).state_dict().items()}


def _without_semantic(shapes: dict[str, torch.Size]) -> dict[str, torch.Size]:
    branch = ("mask_branch.seg_head.", "mask_branch.logits.")
    return {key: shape for key, shape in shapes.items() if not key.startswith(branch)}


if __name__ == "__main__":
    main()
