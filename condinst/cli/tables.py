"""How numbers are printed."""

from __future__ import annotations

import math


def percent(value: float) -> str:
    """A share in percent, "-" for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
