"""What there is to know about an operator in order to test and to time it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from condinst import ops


@dataclass(frozen=True)
class Tolerance:
    """How far a result may be from the reference in float64.

    Attributes:
        relative: allowed share of each expected value.
        of_largest: allowed share of the largest expected magnitude, for values that cancel.
        reason: where the numbers come from.
        absolute: allowed difference whatever the values are, for a result that is 1 minus something near 1.
    """

    relative: float
    of_largest: float
    reason: str
    absolute: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One call of an operator. Gradients are taken for the floating tensors in `args` that have one."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadInput:
    """A call that must be refused with `error`, in words that match the regular expression `message`."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    error: type[Exception]
    message: str


@dataclass(frozen=True)
class OpSpec:
    """One operator.

    Attributes:
        name: the operator's name, one of `condinst.ops.OPERATORS`.
        dtypes: element types to test; float64 is for the CPU only.
        tolerances: of outputs, by their dtype.
        samples: (dtype, device) to calls of odd shapes and layouts, K = 0 and empty maps among them.
        small_samples: device to calls in float64, small enough for gradcheck; none where nothing has a gradient.
        native_calls: device to (name in ``torch.ops.condinst``, arguments) for opcheck: contiguous, sliced,
            transposed and empty.
        bad_inputs: calls that must be refused.
        benchmark_samples: (dtype, device) to calls of realistic size.
        differentiable: positions of the arguments that have a gradient; None for all floating ones.
        gradient_tolerances: of gradients, by their dtype; None for those of outputs.
        reference_compiles: whether the reference is one graph for ``torch.compile``; it is not where sizes within it
            depend on values.
        returns_tensors: whether a result is one tensor or several, which `check_sample` can compare.
    """

    name: str
    dtypes: tuple[torch.dtype, ...]
    tolerances: Mapping[torch.dtype, Tolerance]
    samples: Callable[[torch.dtype, torch.device], list[Sample]]
    small_samples: Callable[[torch.device], list[Sample]]
    native_calls: Callable[[torch.device], list[tuple[str, tuple[Any, ...]]]]
    bad_inputs: Callable[[], list[BadInput]]
    benchmark_samples: Callable[[torch.dtype, torch.device], list[Sample]]
    differentiable: tuple[int, ...] | None = None
    gradient_tolerances: Mapping[torch.dtype, Tolerance] | None = None
    reference_compiles: bool = True
    returns_tensors: bool = True

    @property
    def op(self) -> Callable[..., Any]:
        """The public function."""
        return getattr(ops, self.name)

    @property
    def reference(self) -> Callable[..., Any]:
        """The definition of correct."""
        return getattr(import_module(f"condinst.ops.{self.name}.reference"), self.name)

    def tolerance(self, dtype: torch.dtype, *, gradient: bool) -> Tolerance:
        """How far an output or a gradient of this dtype may be off."""
        own = self.gradient_tolerances if gradient else None
        return (self.tolerances if own is None else own)[dtype]

    def with_gradients(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same arguments, those that have a gradient as leaves that ask for it; values and strides stay."""
        return tuple(
            arg.detach().requires_grad_() if self._has_gradient(position, arg) else arg
            for position, arg in enumerate(args)
        )

    def _has_gradient(self, position: int, arg: Any) -> bool:
        floating = isinstance(arg, Tensor) and arg.is_floating_point()
        return floating and (self.differentiable is None or position in self.differentiable)
