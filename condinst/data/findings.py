"""What is unusual in annotated data: its kind, what follows from it, how often it occurs, and examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

Effect = Literal["refused", "left out", "repaired", "suspicious"]
"""What follows: training does not start; something is left out; it is read in another way; or nothing."""

_EXAMPLES = 5
_ORDER: tuple[Effect, ...] = ("refused", "left out", "repaired", "suspicious")


@dataclasses.dataclass
class Finding:
    """Something unusual.

    Args:
        kind: what it is.
        effect: what follows from it.
        count: how often it occurs.
        examples: the first few, with their ids.
    """

    kind: str
    effect: Effect = "suspicious"
    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)

    @property
    def breaks_training(self) -> bool:
        """Whether `condinst train` refuses the data because of it."""
        return self.effect == "refused"

    def __str__(self) -> str:
        more = ", ..." if self.count > 1 else ""
        return f"{self.kind}: {self.count} ({self.examples[0]}{more})"


class Findings:
    """Findings by kind."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._of_kind = {finding.kind: dataclasses.replace(finding) for finding in findings}
        for finding in self._of_kind.values():
            finding.examples = list(finding.examples)

    def note(self, kind: str, example: str, effect: Effect = "suspicious") -> None:
        """Counts one occurrence."""
        finding = self._of_kind.setdefault(kind, Finding(kind, effect))
        finding.count += 1
        if len(finding.examples) < _EXAMPLES:
            finding.examples.append(example)

    def worst_first(self) -> list[Finding]:
        """All findings by their effect, and then in the order in which they came."""
        return sorted(self._of_kind.values(), key=lambda finding: _ORDER.index(finding.effect))

    def with_effect(self, *effects: Effect) -> list[Finding]:
        """The findings with one of these effects, the worst first."""
        return [finding for finding in self.worst_first() if finding.effect in effects]

    def first_example(self) -> str:
        """An example of the worst finding; empty without findings."""
        return next((finding.examples[0] for finding in self.worst_first()), "")
