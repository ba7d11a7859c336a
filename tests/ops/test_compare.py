"""The comparison with the reference accepts what is right, and nothing else."""

from __future__ import annotations

import pytest
import torch

from condinst.testing.compare import check_tensor
from condinst.testing.spec import Tolerance

TOLERANCE = Tolerance(2**-11, 1e-4, "a test")


def test_what_a_dtype_cannot_hold_is_infinite_in_it() -> None:
    exact = torch.tensor([70_000.0, -70_000.0, 1.0], dtype=torch.float64)
    check_tensor(TOLERANCE, "x", torch.tensor([torch.inf, -torch.inf, 1.0], dtype=torch.float16), exact)


@pytest.mark.parametrize("values", [[torch.inf, 1.0], [-torch.inf, 1.0], [60_000.0, 1.0], [torch.nan, 1.0]])
def test_any_other_value_is_wrong(values: list[float]) -> None:
    exact = torch.tensor([30_000.0 if values[0] == torch.inf else 70_000.0, 1.0], dtype=torch.float64)
    with pytest.raises(AssertionError, match="^x: "):
        check_tensor(TOLERANCE, "x", torch.tensor(values, dtype=torch.float16), exact)


def test_an_absolute_difference_is_allowed_where_the_tolerance_has_it() -> None:
    actual, exact = torch.tensor([1e-7]), torch.tensor([0.0], dtype=torch.float64)
    check_tensor(Tolerance(0, 0, "1 minus a quotient near 1", absolute=2e-7), "x", actual, exact)
    with pytest.raises(AssertionError):
        check_tensor(Tolerance(0, 0, "no absolute part"), "x", actual, exact)
