"""Every operator on every backend that can run here, driven by its OpSpec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from condinst.backends import backend_table
from condinst.backends.registry import DEVICES, TRITON_INTERPRETED
from condinst.testing import BadInput, OpSpec, Results, Sample, check_sample, run
from condinst.testing.specs import SPECS
from tests.ops.backends import param

CPU = torch.device("cpu")


def _cases() -> list[Any]:
    """(spec, backend, device) for each backend that is available here."""
    available = {(row.op, row.backend) for row in backend_table() if row.status == "available"}
    cases = []
    for spec in SPECS:
        for backend, devices in {"reference": ("cpu",), **DEVICES}.items():
            for device in devices:
                if (spec.name, backend) in available:
                    name = f"{spec.name}-{backend}-{device}"
                    cases.append(param(spec, backend, torch.device(device), device=device, id=name))
    return cases


def _bad_inputs() -> list[Any]:
    return [pytest.param(spec, bad, id=f"{spec.name}-{bad.name}") for spec in SPECS for bad in spec.bad_inputs()]


each_case = pytest.mark.parametrize(("spec", "backend", "device"), _cases())


def _dtypes(spec: OpSpec, device: torch.device) -> list[torch.dtype]:
    return [dtype for dtype in spec.dtypes if dtype != torch.float64 or device.type == "cpu"]


def _samples(spec: OpSpec, backend: str, dtype: torch.dtype, device: torch.device) -> list[Sample]:
    samples = spec.samples(dtype, device)
    if backend == "triton" and TRITON_INTERPRETED:
        # A program takes NumPy up to 0.1 s. The mask operators share nearly all code and take turns in float32; of the
        # other dtypes two calls are enough, as kernels see them only where they load and store; those of matrix_nms
        # see none.
        if spec.name == "matrix_nms" and dtype != torch.float32:
            return samples[:2]
        if not spec.name.startswith("dynamic_mask"):
            return samples
        turn = int(spec.name == "dynamic_mask_loss")
        return [s for s in samples[turn::2] if s.name != "1000 instances"] if dtype == torch.float32 else samples[:2]
    return samples


def _largest_sample(spec: OpSpec, backend: str, device: torch.device) -> Sample:
    if backend == "triton" and TRITON_INTERPRETED:
        return spec.samples(torch.float32, device)[0]
    return max(spec.samples(torch.float32, device), key=lambda sample: sample.args[0].numel())


def _assert_same_bits(first: Results, second: Results) -> None:
    for (name, one), (_, other) in zip(first.named(), second.named(), strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=name)
        else:
            assert one is other, name


@each_case
def test_agrees_with_reference(
    spec: OpSpec, backend: str, device: torch.device, subtests: pytest.Subtests, poisoned_memory: None
) -> None:
    for dtype in _dtypes(spec, device):
        for sample in _samples(spec, backend, dtype, device):
            with subtests.test(f"{dtype}, {sample.name}"):
                check_sample(spec, backend, sample)


@each_case
def test_gradcheck(spec: OpSpec, backend: str, device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("float64 is for the CPU only")
    interpreted = backend == "triton" and TRITON_INTERPRETED
    if spec.differentiable == ():
        pytest.skip("has no gradient")
    for sample in spec.small_samples(device):
        call = _bind(spec.op, backend, sample)
        # interpreted kernels are checked along one random direction
        assert torch.autograd.gradcheck(call, spec.with_gradients(sample.args), fast_mode=interpreted), sample.name


def _bind(op: Callable[..., Any], backend: str, sample: Sample) -> Callable[..., Any]:
    return lambda *args: op(*args, **sample.kwargs, backend=backend)


@each_case
def test_same_result_every_run_and_any_threads(
    spec: OpSpec, backend: str, device: torch.device, keep_threads: None
) -> None:
    if backend == "reference":
        pytest.skip("PyTorch's own sums depend on the number of threads")
    sample = _largest_sample(spec, backend, device)
    results = []
    for threads in (1, 1, 2, 3, 8):
        torch.set_num_threads(threads)
        results.append(run(spec, spec.op, sample, backend=backend))
    for other in results[1:]:
        _assert_same_bits(results[0], other)


@pytest.mark.parametrize(("dynamic", "num_samples"), [(None, 4), (True, 1)], ids=["", "symbols"])
@each_case
def test_compiles_in_one_graph(
    spec: OpSpec, backend: str, device: torch.device, dynamic: bool | None, num_samples: int
) -> None:
    """aot_eager traces forward and backward through the fake kernels; test_<op>.py goes through Inductor.

    With dynamic=True every size and every number among the arguments is a symbol, which some Python functions do not
    take (`math.isfinite`); without it, a number becomes a symbol only when a second call passes another one.
    """
    if backend == "reference" and not spec.reference_compiles:
        pytest.skip("sizes within the reference depend on values")
    torch._dynamo.reset()
    compiled = torch.compile(spec.op, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for sample in spec.samples(torch.float32, device)[:num_samples]:
        eager = run(spec, spec.op, sample, backend=backend)
        actual = run(spec, compiled, sample, backend=backend)
        torch.testing.assert_close(actual.outputs, eager.outputs, equal_nan=True)
        torch.testing.assert_close(actual.gradients, eager.gradients, equal_nan=True)


@each_case
def test_autocast_changes_nothing(spec: OpSpec, backend: str, device: torch.device) -> None:
    """The backward pass is outside of autocast, as PyTorch wants it."""

    def under_autocast(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16):
            return spec.op(*args, **kwargs)

    sample = spec.samples(torch.float32, device)[0]
    plain = run(spec, spec.op, sample, backend=backend)
    _assert_same_bits(run(spec, under_autocast, sample, backend=backend), plain)


@each_case
def test_opcheck(spec: OpSpec, backend: str, device: torch.device, subtests: pytest.Subtests) -> None:
    if backend == "reference":
        pytest.skip("no operator of its own")
    ops = torch.ops.condinst_triton if backend == "triton" else torch.ops.condinst
    for name, args in spec.native_calls(device):
        with subtests.test(f"{name}: {[tuple(a.shape) for a in args if isinstance(a, torch.Tensor)]}"):
            torch.library.opcheck(getattr(ops, name).default, args)


@pytest.mark.parametrize(("spec", "bad"), _bad_inputs())
def test_bad_input_is_refused(spec: OpSpec, bad: BadInput) -> None:
    with pytest.raises(bad.error, match=bad.message):
        spec.op(*bad.args, **bad.kwargs)
