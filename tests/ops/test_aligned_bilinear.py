"""`aligned_bilinear` against its closed form, computed pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from condinst import ops


def closed_form(x: torch.Tensor, factor: int) -> torch.Tensor:
    """One axis: out[i] = (1 - a) x[k] + a x[k + 1] with k + a = clamp((i - factor // 2) / factor)."""
    length = x.shape[-1]
    out = []
    for i in range(length * factor):
        s = min(max((i - factor // 2) / factor, 0), length - 1)
        k = int(s)
        out.append((1 - (s - k)) * x[..., k] + (s - k) * x[..., min(k + 1, length - 1)])
    return torch.stack(out, dim=-1)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 3, 4, 6)])
def test_closed_form(shape: tuple[int, ...], factor: int) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    expected = closed_form(closed_form(x, factor).transpose(-1, -2), factor).transpose(-1, -2)
    torch.testing.assert_close(ops.aligned_bilinear(x, factor), expected)


def test_cells_land_on_pixels() -> None:
    x = torch.arange(5.0).expand(5, 5)
    assert torch.equal(ops.aligned_bilinear(x, 4)[2::4, 2::4], x)


def test_empty() -> None:
    assert ops.aligned_bilinear(torch.zeros(0, 3, 4), 2).shape == (0, 6, 8)


@pytest.mark.parametrize(
    ("x", "factor", "error", "message"),
    [
        (torch.zeros(3), 2, ValueError, "x: expected at least 2 dimensions"),
        (torch.zeros(3, 3, dtype=torch.int64), 2, TypeError, "x: expected dtype"),
        (torch.zeros(3, 3), 0, ValueError, "factor: expected at least 1, got 0"),
        (torch.zeros(3, 3), 2.0, TypeError, "factor: expected an integer"),
    ],
)
def test_bad_input(x: torch.Tensor, factor: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ops.aligned_bilinear(x, factor)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiles_in_one_graph(dynamic: bool | None) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(ops.aligned_bilinear, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for factor, shape in ((2, (2, 3, 4, 5)), (4, (3, 9, 4)), (4, (5, 6, 7))):
        x = torch.randn(shape, requires_grad=True)
        upsampled, expected = compiled(x, factor), ops.aligned_bilinear(x, factor)
        torch.testing.assert_close(upsampled, expected)
        weights = torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad((upsampled * weights).sum(), x), torch.autograd.grad((expected * weights).sum(), x)
        )


@pytest.mark.parametrize("shape", [(0, 3, 3), (1, 2, 3), (2, 0, 3)])
def test_a_factor_that_makes_sides_too_large_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"factor: expected a result with sides of at most 1073741824"):
        ops.aligned_bilinear(torch.zeros(shape), 2**30)
    with pytest.raises(ValueError, match=r"factor: expected a result of at most \d+ elements"):
        ops.aligned_bilinear(torch.zeros(*shape[:1], 8, 8), 2**27)
