"""Argument checks shared by the operators. Each message names the argument, the expected value and the actual value."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from condinst.backends.transforms import has_readable_values, is_differentiated
from condinst.geometry import MOST_PIXELS
from condinst.messages import shorten

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

MOST_INTEGER = (1 << 63) - 1
"""The largest integer that an operator of PyTorch takes."""

MOST_SIDE = 1 << 30
"""The largest side of a map or an image, and the largest stride; csrc/sizes.h has the same number and the reason."""

MOST_ELEMENTS = 1 << 48
"""The most elements of a result. No memory holds as many, and int64 holds the number of their bytes."""


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_tensor(name: str, value: object, dtypes: Collection[torch.dtype], min_dims: int = 0) -> None:
    """Raise unless `value` is a dense tensor of one of `dtypes` with at least `min_dims` dimensions.

    Raises:
        TypeError: not a tensor, or another dtype.
        ValueError: too few dimensions, or a sparse layout.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.dtype not in dtypes:
        expected = ", ".join(_short(dtype) for dtype in dtypes)
        raise TypeError(f"{name}: expected dtype {expected}; got {_short(value.dtype)}")
    if value.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got layout {value.layout}")
    if value.dim() < min_dims:
        raise ValueError(f"{name}: expected at least {min_dims} dimensions, got shape {list(value.shape)}")


def check_same_shape(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless two tensors have the same shape and device."""
    if value.shape != other.shape:
        raise ValueError(f"{name}: expected the shape of {other_name} {list(other.shape)}, got {list(value.shape)}")
    check_same_device(name, value, other_name, other)


def check_choice(name: str, value: str | int, choices: Collection[str | int]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not isinstance(value, str | int) or isinstance(value, bool) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}; got {shorten(value)}")


def check_flag(name: str, value: bool) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")


def check_number(name: str, value: float) -> None:
    """Raise unless `value` is a finite number; an integer has at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    # math.isfinite would break the graph of torch.compile once a number has changed.
    most = math.inf if isinstance(value, float) else MOST_INTEGER + 1
    if not -most < value < most:
        raise ValueError(f"{name}: expected a finite number, got {shorten(value)}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is a positive, finite number."""
    check_number(name, value)
    if value <= 0:
        raise ValueError(f"{name}: expected a positive finite number, got {value}")


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `value` has exactly this shape."""
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(value.shape)}")


def check_dims(name: str, value: Tensor, dims: int) -> None:
    """Raise ValueError unless `value` has exactly this many dimensions."""
    if value.dim() != dims:
        raise ValueError(f"{name}: expected {dims} dimensions, got shape {list(value.shape)}")


def check_same_dtype(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise TypeError unless two tensors have the same dtype."""
    if value.dtype != other.dtype:
        raise TypeError(
            f"{name}: expected the dtype of {other_name} ({_short(other.dtype)}), got {_short(value.dtype)}"
        )


def check_constant(name: str, value: Tensor) -> None:
    """Raise NotImplementedError where a transform differentiates by an argument that is a constant of its operator.

    The derivative would be 0. In ``backward()`` such an argument has no gradient, as its operator documents.
    """
    if is_differentiated(value):
        raise NotImplementedError(
            f"{name}: a constant of this operator, without a derivative on any backend, backend='reference' included;"
            f" expected {name}.detach()"
        )


def check_index_range(name: str, indices: Tensor, size: int, least: int = 0) -> None:
    """Raise ValueError unless all `indices` are in least .. size - 1; on the CPU and outside of transforms only.

    Reading values on a GPU would wait for it, and code that PyTorch transforms cannot branch on them: kernels check
    there.
    """
    if indices.device.type != "cpu" or indices.numel() == 0 or not has_readable_values(indices):
        return
    lowest, highest = (int(bound) for bound in indices.aminmax())
    if lowest < least or highest >= size:
        wrong = lowest if lowest < least else highest
        raise ValueError(f"{name}: expected numbers in {least} .. {size - 1}, got {wrong}")


def check_same_device(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless two tensors are on the same device."""
    if value.device != other.device:
        raise ValueError(f"{name}: expected the device of {other_name} ({other.device}), got {value.device}")


def check_integer(name: str, value: int, least: int, most: int = MOST_INTEGER) -> None:
    """Raise unless `value` is an integer in least .. most."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {shorten(value)}")
    if value > most:
        raise ValueError(f"{name}: expected at most {most}, got {shorten(value)}")


def check_stride(name: str, value: int) -> None:
    """Raise unless `value` is a number of pixels between two cells."""
    check_integer(name, value, 1, MOST_SIDE)


def check_sequence(name: str, value: Sequence[object]) -> None:
    """Raise TypeError unless `value` is a tuple or a list."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}: expected a tuple or a list, got {type(value).__name__}")


def check_size(name: str, value: Sequence[int], least: int = 1) -> None:
    """Raise unless `value` is (height, width), of at least `least` each."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        height, width = value
        # A fast path for the usual case, as a call has several sizes. Subclasses of int are checked below.
        if type(height) is type(width) is int and least <= height <= MOST_SIDE and least <= width <= MOST_SIDE:
            return
    check_sequence(name, value)
    if len(value) != 2:
        raise ValueError(f"{name}: expected (height, width), got {len(value)} numbers")
    for side in value:
        if isinstance(side, bool) or not isinstance(side, int):
            raise TypeError(f"{name}: expected two integers, got {type(side).__name__}")
    if min(value) < least or max(value) > MOST_SIDE:
        shown = f"({shorten(value[0])}, {shorten(value[1])})"
        raise ValueError(f"{name}: expected (height, width) of at least {least} and at most {MOST_SIDE}, got {shown}")


def check_image_size(name: str, value: Sequence[int]) -> None:
    """Raise unless `value` is (height, width) of an image that an operator can write."""
    check_size(name, value)
    if value[0] * value[1] > MOST_PIXELS:
        raise ValueError(f"{name}: expected less than 2^31 pixels, got {tuple(value)}")


def check_sides(name: str, maps: Tensor) -> None:
    """Raise ValueError for maps [..., H, W] with larger sides than the kernels take; not in ``torch.compile``."""
    if torch.compiler.is_compiling() or 0 < maps.numel() <= MOST_SIDE:  # No side is larger than the number of elements.
        return
    if max(maps.shape[-2:]) > MOST_SIDE:
        raise ValueError(f"{name}: expected sides of at most {MOST_SIDE}, got shape {list(maps.shape)}")


def check_elements(name: str, *sizes: int) -> None:
    """Raise ValueError when a result of these sizes has too many elements; not in ``torch.compile``."""
    if torch.compiler.is_compiling():
        return
    if math.prod(sizes) > MOST_ELEMENTS:
        shape = " x ".join(map(shorten, sizes))
        raise ValueError(f"{name}: expected a result of at most {MOST_ELEMENTS} elements, got {shape}")


def check_upsampled(name: str, maps: Tensor, factor: int) -> None:
    """Raise ValueError when maps [..., H, W] become too large by a factor; not in ``torch.compile``."""
    if torch.compiler.is_compiling():
        return
    height, width = (side * factor for side in maps.shape[-2:])
    if max(height, width) > MOST_SIDE:
        raise ValueError(f"{name}: expected a result with sides of at most {MOST_SIDE}, got {height} x {width}")
    check_elements(name, *(max(size, 1) for size in maps.shape[:-2]), max(height, 1), max(width, 1))


def check_probability(name: str, value: float) -> None:
    """Raise unless `value` is a number in 0..1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number in 0..1, got {shorten(value)}")


def check_levels(level_sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> int:
    """The number of cells of a pyramid; raises unless each of its levels has (height, width) and a stride."""
    check_sequence("level_sizes", level_sizes)
    check_sequence("strides", strides)
    if len(level_sizes) != len(strides):
        raise ValueError(f"level_sizes: expected one per stride ({len(strides)}), got {len(level_sizes)}")
    cells = 0
    for size in level_sizes:
        check_size("level_sizes", size, 0)
        cells += size[0] * size[1]
    for stride in strides:
        check_integer("strides", stride, 1, MOST_SIDE)
    return cells


def check_candidates(
    name: str,
    candidates: Tensor,
    scores: Tensor,
    labels: Tensor,
    image_indices: Tensor,
) -> None:
    """Check the arguments of an operator that suppresses duplicates; `name` is the name of `candidates`."""
    check_tensor("scores", scores, FLOATING)
    check_tensor("labels", labels, (torch.int64,))
    check_tensor("image_indices", image_indices, (torch.int64,))
    for argument, value in (("scores", scores), ("labels", labels), ("image_indices", image_indices)):
        check_shape(argument, value, (candidates.shape[0],))
        check_same_device(argument, value, name, candidates)


def check_mask_sizes(
    mask_logits: Tensor,
    mask_stride: int,
    network_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float,
) -> None:
    """Check the arguments of `masks_to_image` or `masks_to_rle`."""
    check_tensor("mask_logits", mask_logits, FLOATING)
    check_dims("mask_logits", mask_logits, 3)
    check_sides("mask_logits", mask_logits)
    check_stride("mask_stride", mask_stride)
    check_size("network_size", network_size)
    covered = [side * mask_stride for side in mask_logits.shape[1:]]
    if network_size[0] > covered[0] or network_size[1] > covered[1]:
        raise ValueError(f"network_size: expected 1 .. {covered} (mask size times mask_stride), got {network_size}")
    check_image_size("output_size", output_size)
    check_probability("threshold", threshold)
