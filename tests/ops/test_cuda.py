"""What only a GPU can show: streams, CUDA graphs, no waiting. For every operator with kernels for one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from condinst.backends.registry import DEVICES, is_written
from condinst.testing import OpSpec, Sample
from condinst.testing.specs import SPECS

CUDA = torch.device("cuda")

pytestmark = pytest.mark.gpu


def _cases() -> list[Any]:
    """(spec, backend) for each backend that is written for a GPU, also where this machine cannot run it."""
    return [
        pytest.param(spec, backend, id=f"{spec.name}-{backend}")
        for spec in SPECS
        for backend, devices in DEVICES.items()
        if "cuda" in devices and is_written(spec.name, backend)
    ]


each_case = pytest.mark.parametrize(("spec", "backend"), _cases())


def _largest_sample(spec: OpSpec) -> Sample:
    return max(spec.samples(torch.float32, CUDA), key=lambda sample: sample.args[0].numel())


def _make_leaves(spec: OpSpec, sample: Sample) -> tuple[Any, ...]:
    """Copies of the arguments, which require a gradient if they are differentiable."""
    return spec.with_gradients(tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in sample.args))


def _forward_and_backward(spec: OpSpec, backend: str, args: tuple[Any, ...], sample: Sample) -> list[Tensor]:
    """Outputs and gradients, by calls that run on the device alone."""
    returned = spec.op(*args, **sample.kwargs, backend=backend)
    outputs = list(returned) if isinstance(returned, tuple) else [returned]
    leaves = [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]
    scalars = [output.sum() for output in outputs if output.requires_grad]
    gradients = torch.autograd.grad(scalars, leaves, allow_unused=True) if scalars else ()
    return [output.detach() for output in outputs] + [gradient for gradient in gradients if gradient is not None]


@each_case
def test_never_waits_for_the_device(spec: OpSpec, backend: str) -> None:
    sample = _largest_sample(spec)
    args = _make_leaves(spec, sample)
    _forward_and_backward(spec, backend, args, sample)  # what is compiled or loaded once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        _forward_and_backward(spec, backend, args, sample)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_case
def test_runs_on_the_current_stream(spec: OpSpec, backend: str) -> None:
    """The arguments are written late on a side stream; a kernel on another stream would read NaN."""
    sample = _largest_sample(spec)
    expected = _forward_and_backward(spec, backend, _make_leaves(spec, sample), sample)
    args = _make_leaves(spec, sample)
    tensors = [(arg, source) for arg, source in zip(args, sample.args, strict=True) if isinstance(arg, Tensor)]
    with torch.no_grad():
        for arg, _ in tensors:
            arg.fill_(float("nan") if arg.is_floating_point() else 0)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        with torch.no_grad():
            for arg, source in tensors:
                arg.copy_(source)
        actual = _forward_and_backward(spec, backend, args, sample)
    stream.synchronize()
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@each_case
def test_in_a_cuda_graph(spec: OpSpec, backend: str) -> None:
    """Recorded once, replayed on new values: the same bits as without a graph."""
    sample = _largest_sample(spec)
    args = _make_leaves(spec, sample)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # PyTorch wants a first run on a side stream
        _forward_and_backward(spec, backend, args, sample)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = _forward_and_backward(spec, backend, args, sample)
    with torch.no_grad():
        for arg in args:
            if isinstance(arg, Tensor) and arg.is_floating_point():
                arg.copy_(arg.flip(-1))
    graph.replay()
    torch.cuda.synchronize()
    for one, other in zip(replayed, _forward_and_backward(spec, backend, args, sample), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
