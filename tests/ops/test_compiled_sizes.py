"""``torch.compile`` makes one graph of an operator for all sizes of images and pyramids and all numbers of candidates.

A size that an operator's schema calls ``int``, and not ``SymInt``, is a constant of the graph. Each other size then
takes another graph, and ``fullgraph=True`` fails after the eighth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch

from condinst import ops
from condinst.ops.decode_detections.spec import decode_inputs
from condinst.ops.fcos_targets import spec as fcos_targets
from condinst.ops.mask_nms.spec import make_candidates
from condinst.ops.masks_to_image.spec import blobs
from condinst.ops.nms.spec import nms_inputs
from condinst.ops.panoptic_merge.spec import inputs as panoptic_inputs
from condinst.ops.select_top_locations import spec as top_locations

CPU = torch.device("cpu")
SIZES = (11, 15, 19)

Call = tuple[tuple[Any, ...], dict[str, Any]]


def _pyramid(size: int) -> list[tuple[int, int]]:
    return [(5 + size, 7), (3, 4 + size), (2, 2)]


def _decode_detections(size: int) -> Call:
    options = {"level_sizes": _pyramid(size), "strides": (8, 16, 32), "score_threshold": 0.3, "top_k": 50}
    return decode_inputs(torch.float32, CPU, _pyramid(size), size), options


def _fcos_targets(size: int) -> Call:
    options = {**fcos_targets.PYRAMID, "level_sizes": _pyramid(size), "num_images": size}
    return fcos_targets.make_objects(10 * size, size), options


def _mask_nms(size: int) -> Call:
    masks = make_candidates(torch.float32, CPU, 10 * size, (8 + size, 20 + size), num_images=size)
    return masks, {"iou_threshold": 0.5, "num_images": size}


def _masks_to_image(size: int) -> Call:
    logits = blobs(size, 10 + size, 13)
    return (logits,), {"network_size": (30 + size, 33 + size), "output_size": (30 + size, 20 + 2 * size)}


def _nms(size: int) -> Call:
    return nms_inputs(torch.float32, CPU, 10 * size, num_images=size), {"iou_threshold": 0.5, "num_images": size}


def _panoptic_merge(size: int) -> Call:
    tensors = panoptic_inputs(torch.float32, CPU, num_instances=2 * size)
    networks, outputs = [(25 + size, 67), (40, 30 + size)], [(52, 60 + size), (70 + size, 101)]
    return tensors, {"network_sizes": networks, "output_sizes": outputs, "num_thing_channels": 2}


def _select_top_locations(size: int) -> Call:
    objects = top_locations.make_objects(size, 30 * size, 7, positives=0.3)
    logits = top_locations.grid_logits(torch.float32, *objects.shape, 5, seed=1)
    centerness = top_locations.grid_logits(torch.float32, *objects.shape, seed=2)
    return (logits, centerness, objects), {"num_objects": 7 * size}


OPTIONS = {
    "channels": "width of the mask head, of the config",
    "feature_stride": "of the mask branch, of the config",
    "mask_stride": "of the mask head's output, of the config",
    "max_detections": "of the config",
    "max_locations": "of the config",
    "num_classes": "of the config",
    "num_layers": "depth of the mask head, of the config",
    "num_thing_channels": "classes, of the config",
    "semantic_stride": "of the semantic branch, of the config",
    "sizes_of_interest": "of the levels, of the config",
    "strides": "of the levels, of the config",
    "stuff_area_limit": "of the config",
    "top_k": "of the config",
    "upsample_factor": "of the mask head, of the config",
}
"""Arguments of operators that may be constants of a graph, as they are the same for all images of a model."""


CALLS: dict[Any, Callable[[int], Call]] = {
    ops.decode_detections: _decode_detections,
    ops.fcos_targets: _fcos_targets,
    ops.mask_nms: _mask_nms,
    ops.masks_to_image: _masks_to_image,
    ops.nms: _nms,
    ops.panoptic_merge: _panoptic_merge,
    ops.select_top_locations: _select_top_locations,
}


def test_only_options_are_constants_of_a_graph() -> None:
    """A new argument that is a size must be a `SymInt`; one that is an option gets its reason in `OPTIONS`."""
    names = {schema.name.split("::")[1] for schema in torch._C._jit_get_all_schemas() if "condinst::" in schema.name}
    schemas = [str(getattr(torch.ops.condinst, name).default._schema) for name in names]
    # the schemas as they are written: the parsed types call a SymInt an int
    integers = [re.findall(r"(?<!\w)int(?:\[\d*\])?\?? (\w+)", schema) for schema in schemas]
    assert {argument for arguments in integers for argument in arguments} == OPTIONS.keys()
    assert any("SymInt[] level_sizes" in schema for schema in schemas)


@pytest.fixture
def compile_once() -> Iterator[Callable[[Any], Any]]:
    """Compiles an operator, and raises where a call takes a second graph."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield partial(torch.compile, fullgraph=True, dynamic=True, backend="aot_eager")


@pytest.mark.parametrize("op", CALLS, ids=lambda op: op.__name__)
def test_one_graph_for_all_sizes(op: Any, compile_once: Callable[[Any], Any]) -> None:
    compiled = compile_once(op)
    for size in SIZES:
        args, options = CALLS[op](size)
        torch.testing.assert_close(compiled(*args, **options, backend="cpp"), op(*args, **options, backend="cpp"))


@pytest.mark.parametrize("op", [ops.nms, ops.mask_nms], ids=lambda op: op.__name__)
def test_images_are_counted_within_the_graph(op: Any, compile_once: Callable[[Any], Any]) -> None:
    """Without `num_images` their number is a value in a tensor, which the compiled code reads."""
    compiled = compile_once(op)
    for size in SIZES:
        args, options = CALLS[op](size)
        options = options | {"num_images": None}
        torch.testing.assert_close(compiled(*args, **options, backend="cpp"), op(*args, **options, backend="cpp"))
