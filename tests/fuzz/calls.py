"""Strategies of hypothesis that draw valid calls of the operators: any sizes, options, dtypes, layouts and odd values.

Each call is a `Sample` whose name repeats what was drawn, so that a failure can be read and rebuilt. Values lie where
the results of kernel and reference can be compared exactly or within the operator's own tolerance:

- decisions (targets, candidates, suppression, packing) get values on a grid, with many ties;
- the mask head gets multiples of 1/4 and 1/2, for which the sums of both sides are exact: otherwise a ReLU next to 0
  would fall on different sides in float32 and float64;
- the first of the masks, boxes and logits of a loss is one with a loss and gradients of the usual size, of which the
  tolerances are a share: where prediction and target are nearly equal alone, all that is left is rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from condinst.ops.common.mask_network import num_mask_head_params
from condinst.ops.decode_detections.spec import check_margins, decode_inputs
from condinst.ops.fcos_targets.spec import make_objects
from condinst.ops.mask_nms.spec import make_candidates, packed
from condinst.ops.nms.spec import nms_inputs
from condinst.ops.panoptic_merge.spec import random_sample
from condinst.ops.select_top_locations.spec import grid_logits
from condinst.ops.select_top_locations.spec import make_objects as make_positives
from condinst.testing import Sample
from condinst.testing.specs import ALL_SPECS

CPU = torch.device("cpu")
SPEC_OF = {spec.name: spec for spec in ALL_SPECS}

LENGTHS = st.integers(0, 70)
FEW = st.integers(0, 9)
SEEDS = st.integers(0, 2**31 - 1)
LAYOUTS = st.sampled_from(("contiguous", "transposed", "sliced", "offset"))

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Recipe:
    """Draws values and remembers them, in words, for the name of the sample."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.words: list[str] = []

    def __call__(self, name: str, strategy: st.SearchStrategy[Any]) -> Any:
        value = self._draw(strategy)
        self.words.append(f"{name}={value}")
        return value

    def sample(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Sample:
        """The call, each tensor in a layout of its own."""
        args = tuple(_in_layout(arg, self("layout", LAYOUTS)) if isinstance(arg, Tensor) else arg for arg in args)
        return Sample(", ".join(self.words), args, kwargs or {})


def _in_layout(values: Tensor, layout: str) -> Tensor:
    """The same values in memory that is laid out in another way."""
    if layout == "transposed" and values.dim() >= 2:
        return values.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced" and values.dim() >= 1:
        return values.repeat_interleave(2, dim=-1)[..., ::2]
    if layout == "offset" and values.dim() >= 1:  # not at the alignment that allocators give
        memory = torch.empty(values.numel() + 1, dtype=values.dtype)[1:]
        return memory.reshape(values.shape).copy_(values)
    return values


def _generator(recipe: Recipe) -> torch.Generator:
    return torch.Generator().manual_seed(recipe("seed", SEEDS))


def _uniform(recipe: Recipe, *shape: int) -> Tensor:
    return torch.rand(shape, generator=_generator(recipe), dtype=torch.float64)


def _normal(recipe: Recipe, *shape: int) -> Tensor:
    return torch.randn(shape, generator=_generator(recipe), dtype=torch.float64)


def _grid(recipe: Recipe, step: float, largest: float, *shape: int) -> Tensor:
    """Multiples of `step` in -largest .. largest."""
    count = round(largest / step)
    return torch.randint(-count, count + 1, shape, generator=_generator(recipe)).double() * step


def _with_odd_values(recipe: Recipe, values: Tensor) -> Tensor:
    """Sometimes with NaN and infinities in a tenth of the places."""
    if not recipe("odd values", st.booleans()) or values.numel() == 0:
        return values
    generator = _generator(recipe)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0], dtype=values.dtype)
    chosen = odd[torch.randint(4, values.shape, generator=generator)]
    return torch.where(torch.rand(values.shape, generator=generator) < 0.1, chosen, values)


def _dtype(recipe: Recipe, op: str) -> torch.dtype:
    return recipe("dtype", st.sampled_from(SPEC_OF[op].dtypes))


def _reduction(recipe: Recipe) -> str:
    return recipe("reduction", st.sampled_from(("mean", "sum", "none")))


def _dice_loss(recipe: Recipe) -> Sample:
    dtype = _dtype(recipe, "dice_loss")
    shape = (recipe("masks", FEW), recipe("height", LENGTHS), recipe("width", LENGTHS))
    masks, targets = _uniform(recipe, *shape), _uniform(recipe, *shape)
    masks[:1], targets[:1] = 0.5, 1
    kind = recipe("targets", st.sampled_from((torch.bool, torch.uint8, dtype)))
    targets = targets.to(dtype) if kind == dtype else (targets > 0.6).to(kind)
    eps = recipe("eps", st.sampled_from((1e-5, 1.0)))
    return recipe.sample((masks.to(dtype), targets), {"eps": eps, "reduction": _reduction(recipe)})


def _giou_loss(recipe: Recipe) -> Sample:
    dtype, count = _dtype(recipe, "giou_loss"), recipe("boxes", LENGTHS)
    predicted, targets = _uniform(recipe, count, 4) * 8 + 0.25, _uniform(recipe, count, 4) * 6 + 0.5
    predicted[:1], targets[:1] = 1, 5
    weights = (_uniform(recipe, count) + 0.5).to(dtype) if recipe("weights", st.booleans()) else None
    options = {"smooth": recipe("smooth", st.booleans()), "reduction": _reduction(recipe)}
    return recipe.sample((predicted.to(dtype), targets.to(dtype), weights), options)


def _centerness_loss(recipe: Recipe) -> Sample:
    dtype, count = _dtype(recipe, "centerness_loss"), recipe("locations", LENGTHS)
    logits, targets = _normal(recipe, count) * 4, _uniform(recipe, count)
    logits[:1], targets[:1] = 0, 1
    return recipe.sample((logits.to(dtype), targets.to(dtype)), {"reduction": _reduction(recipe)})


def _sigmoid_focal_loss(recipe: Recipe) -> Sample:
    dtype = _dtype(recipe, "sigmoid_focal_loss")
    rows, classes = recipe("rows", LENGTHS), recipe("classes", LENGTHS)
    labels = torch.randint(classes + 1, (rows,), generator=_generator(recipe))
    options = {
        "alpha": recipe("alpha", st.sampled_from((0.0, 0.25, 0.9, 1.0))),
        "gamma": recipe("gamma", st.sampled_from((0.0, 1.0, 1.5, 2.0, 5.0))),
        "reduction": _reduction(recipe),
    }
    return recipe.sample(((_normal(recipe, rows, classes) * 3).to(dtype), labels), options)


def _head_inputs(recipe: Recipe, op: str) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    dtype = _dtype(recipe, op)
    options = {
        "feature_stride": recipe("feature_stride", st.sampled_from((1, 4, 8, 16))),
        "num_layers": recipe("num_layers", st.integers(1, 3)),
        "channels": recipe("channels", st.integers(1, 16)),
        "coordinates": recipe("coordinates", st.sampled_from(("relative", "absolute", "none"))),
        "use_features": recipe("use_features", st.booleans()),
        "upsample_factor": recipe("upsample_factor", st.sampled_from((1, 2, 4))),
    }
    assume(options["use_features"] or options["coordinates"] != "none")
    num_images, features = recipe("images", st.integers(0, 3)), recipe("feature channels", st.integers(1, 16))
    num_instances = recipe("instances", FEW) if num_images else 0
    height, width = recipe("height", st.integers(0, 40)), recipe("width", st.integers(0, 40))
    in_channels = features * options["use_features"] + 2 * (options["coordinates"] != "none")
    num_params = num_mask_head_params(in_channels, options["channels"], options["num_layers"])
    args = (
        _grid(recipe, 1 / 4, 2, num_images, features, height, width).to(dtype),
        _grid(recipe, 1 / 2, 1, num_instances, num_params).to(dtype),
        _grid(recipe, 1, 300, num_instances, 2).float(),
        torch.randint(max(num_images, 1), (num_instances,), generator=_generator(recipe)),
        64.0 * 2.0 ** torch.randint(5, (num_instances,), generator=_generator(recipe)),
    )
    return args, options


def _dynamic_mask_head(recipe: Recipe) -> Sample:
    args, options = _head_inputs(recipe, "dynamic_mask_head")
    return recipe.sample(args, options)


def _dynamic_mask_loss(recipe: Recipe) -> Sample:
    args, options = _head_inputs(recipe, "dynamic_mask_loss")
    size = [length * options["upsample_factor"] for length in args[0].shape[2:]]
    num_targets = recipe("targets", st.integers(1, 4))
    targets = _uniform(recipe, num_targets, *size) > 0.6
    indices = torch.randint(num_targets, (len(args[1]),), generator=_generator(recipe))
    return recipe.sample((*args, targets, indices), {**options, "reduction": _reduction(recipe)})


def _pyramid(recipe: Recipe) -> dict[str, Any]:
    levels = recipe("levels", st.integers(1, 4))
    sides = st.integers(0, 24)
    return {
        "level_sizes": [(recipe("height", sides), recipe("width", sides)) for _ in range(levels)],
        "strides": tuple(8 * 2**level for level in range(levels)),
    }


def _fcos_targets(recipe: Recipe) -> Sample:
    dtype, num_images = _dtype(recipe, "fcos_targets"), recipe("images", st.integers(1, 3))
    extent = recipe("extent", st.integers(8, 400))
    objects = make_objects(recipe("objects", LENGTHS), num_images, seed=recipe("seed", SEEDS), extent=extent)
    boxes, labels, centers, images = objects
    boxes, centers = (_with_odd_values(recipe, values).to(dtype) for values in (boxes, centers))
    pyramid = _pyramid(recipe)
    options = {
        **pyramid,
        "num_images": num_images,
        "num_classes": 9,
        "sizes_of_interest": tuple(64 * 2**level for level in range(len(pyramid["strides"]) - 1)),
        "radius": recipe("radius", st.sampled_from((0.7, 1.5, 100.0))),
    }
    return recipe.sample((boxes, labels, centers if recipe("centers", st.booleans()) else None, images), options)


def _mask_centers(recipe: Recipe) -> Sample:
    shape = (recipe("masks", FEW), recipe("height", LENGTHS), recipe("width", LENGTHS))
    values = torch.randint(256, shape, generator=_generator(recipe), dtype=torch.uint8)
    values = values * (values > recipe("threshold", st.integers(0, 255)))
    return recipe.sample((values.to(_dtype(recipe, "mask_centers")),))


def _select_top_locations(recipe: Recipe) -> Sample:
    dtype, batch, locations = (
        _dtype(recipe, "select_top_locations"),
        recipe("images", FEW),
        recipe("locations", LENGTHS),
    )
    per_image = recipe("objects", FEW)
    share = recipe("positives", st.sampled_from((0.0, 0.3, 0.9))) if per_image else 0.0
    objects = make_positives(batch, locations, per_image, positives=share, seed=recipe("seed", SEEDS))
    classes = recipe("classes", st.integers(1, 70))
    options = {
        "num_objects": batch * per_image,
        "rule": recipe("rule", st.sampled_from(("top", "all"))),
        "max_locations": recipe("max_locations", st.integers(1, 70)),
    }
    logits = grid_logits(dtype, batch, locations, classes, seed=recipe("seed", SEEDS))
    return recipe.sample((logits, grid_logits(dtype, batch, locations, seed=recipe("seed", SEEDS)), objects), options)


def _decode_detections(recipe: Recipe) -> Sample:
    dtype, pyramid = _dtype(recipe, "decode_detections"), _pyramid(recipe)
    batch, classes = recipe("images", st.integers(0, 3)), recipe("classes", st.integers(0, 20))
    mean = recipe("mean", st.sampled_from((-5.0, -2.0, 0.0)))
    args = decode_inputs(dtype, CPU, pyramid["level_sizes"], batch, classes, mean=mean, seed=recipe("seed", SEEDS))
    options = {
        **pyramid,
        "score_threshold": recipe("score_threshold", st.sampled_from((0.0, 0.05, 0.3, 1.0))),
        # All pairs: PyTorch rounds the sigmoid of the last logits of a tensor, which fill no vector, in another way
        # than the others, so that the reference would rank equal logits by their place.
        "top_k": 1_000_000,
        "threshold_with_centerness": recipe("threshold_with_centerness", st.booleans()),
    }
    sample = recipe.sample((_with_odd_values(recipe, args[0]), args[1], args[2]), options)
    try:
        check_margins(sample)
    except ValueError:  # a comparison that would hang on the last bits of a sigmoid
        assume(False)
    return sample


def _suppression(recipe: Recipe, num_images: int, num_candidates: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "iou_threshold": recipe("iou_threshold", st.sampled_from((0, 0.25, 0.5, 0.6, 1.0))),
        "max_detections": recipe("max_detections", st.integers(0, 20)),
    }
    if recipe("counted images", st.booleans()):
        options["num_images"] = num_images + recipe("more images", st.integers(0, 2))
    if recipe("has capacity", st.booleans()):
        options["capacity"] = max(options["max_detections"], 1) + recipe("more capacity", LENGTHS)
    return options


def _nms(recipe: Recipe) -> Sample:
    dtype, count = _dtype(recipe, "nms"), recipe("boxes", st.integers(0, 300))
    num_images = recipe("images", st.integers(1, 3))
    boxes, scores, labels, images = nms_inputs(
        dtype,
        CPU,
        count,
        num_classes=recipe("classes", st.integers(1, 5)),
        num_images=num_images,
        extent=recipe("extent", st.sampled_from((10.0, 60.0, 500.0))),
        seed=recipe("seed", SEEDS),
    )
    boxes, scores = _with_odd_values(recipe, boxes), _with_odd_values(recipe, scores)
    return recipe.sample((boxes, scores, labels, images), _suppression(recipe, num_images, count))


def _packed_candidates(recipe: Recipe, op: str) -> tuple[tuple[Tensor, ...], int]:
    num_images = recipe("images", st.integers(1, 3))
    masks, scores, labels, images = packed(
        make_candidates(
            _dtype(recipe, op),
            CPU,
            recipe("masks", LENGTHS),
            (recipe("height", LENGTHS), recipe("width", LENGTHS)),
            num_labels=recipe("labels", st.integers(1, 4)),
            num_images=num_images,
            seed=recipe("seed", SEEDS),
        )
    )
    return (masks, _with_odd_values(recipe, scores), labels, images), num_images


def _mask_nms(recipe: Recipe) -> Sample:
    candidates, num_images = _packed_candidates(recipe, "mask_nms")
    return recipe.sample(candidates, _suppression(recipe, num_images, len(candidates[1])))


def _matrix_nms(recipe: Recipe) -> Sample:
    candidates, _ = _packed_candidates(recipe, "matrix_nms")
    kernel = recipe("kernel", st.sampled_from(("gaussian", "linear")))
    return recipe.sample(candidates, {"kernel": kernel, "sigma": recipe("sigma", st.sampled_from((0.5, 2.0)))})


def _pack_masks(recipe: Recipe) -> Sample:
    shape = (recipe("masks", FEW), recipe("height", LENGTHS), recipe("width", LENGTHS))
    values = _with_odd_values(recipe, _grid(recipe, 1 / 64, 2, *shape))
    kind = recipe("kind", st.sampled_from((torch.bool, torch.uint8, *SPEC_OF["pack_masks"].dtypes)))
    values = values.nan_to_num(0, 2, 0).abs() if kind == torch.uint8 else values
    return recipe.sample(
        (values.to(kind),), {"threshold": recipe("threshold", st.sampled_from((0.0, 0.5, -1.25, 1e6)))}
    )


def _resize_image(recipe: Recipe) -> Sample:
    sides = st.integers(1, 70)
    shape = (recipe("channels", FEW), recipe("height", sides), recipe("width", sides))
    seed = recipe("seed", SEEDS)
    image = torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return recipe.sample((image, (recipe("new height", sides), recipe("new width", sides))))


def _masks_to_image(recipe: Recipe) -> Sample:
    stride = recipe("mask_stride", st.sampled_from((1, 2, 3, 4, 8)))
    height, width = recipe("height", st.integers(1, 40)), recipe("width", st.integers(1, 40))
    logits = _with_odd_values(recipe, 2 * _normal(recipe, recipe("masks", FEW), height, width))
    network = (recipe("rows", st.integers(1, height * stride)), recipe("columns", st.integers(1, width * stride)))
    sides = st.integers(1, 150)
    output = network if recipe("same size", st.booleans()) else (recipe("out", sides), recipe("out", sides))
    options = {
        "mask_stride": stride,
        "network_size": network,
        "output_size": output,
        "threshold": recipe("threshold", st.sampled_from((0.5, 0.3, 0.9))),
    }
    return recipe.sample((logits.to(_dtype(recipe, "masks_to_image")),), options)


def _panoptic_merge(recipe: Recipe) -> Sample:
    sample = random_sample(recipe("seed", SEEDS))
    return recipe.sample(sample.args, dict(sample.kwargs))


_BUILDERS: dict[str, Callable[[Recipe], Sample]] = {
    "centerness_loss": _centerness_loss,
    "decode_detections": _decode_detections,
    "dice_loss": _dice_loss,
    "dynamic_mask_head": _dynamic_mask_head,
    "dynamic_mask_loss": _dynamic_mask_loss,
    "fcos_targets": _fcos_targets,
    "giou_loss": _giou_loss,
    "mask_centers": _mask_centers,
    "mask_nms": _mask_nms,
    "masks_to_image": _masks_to_image,
    "masks_to_rle": _masks_to_image,
    "matrix_nms": _matrix_nms,
    "nms": _nms,
    "pack_masks": _pack_masks,
    "panoptic_merge": _panoptic_merge,
    "resize_image": _resize_image,
    "select_top_locations": _select_top_locations,
    "sigmoid_focal_loss": _sigmoid_focal_loss,
}


@st.composite
def valid_calls(draw: Draw, op: str) -> Sample:
    """Calls of an operator that it must take."""
    return _BUILDERS[op](Recipe(draw))
