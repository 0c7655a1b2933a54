"""One line of the table: what was measured, and the target that it meets or misses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A measured value with its target.

    Args:
        what: names the measurement.
        value: in `unit`.
        target: the limit, in `unit`.
        at_least: the value must reach the target; otherwise it must not exceed it.
        detail: what else was seen, for the JSON file.
    """

    what: str
    value: float
    unit: str
    target: float
    at_least: bool = False
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As text: what, value, target, verdict."""
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "MISSED"
        return self.what, shown(self.value, self.unit), f"{bound} {shown(self.target, self.unit)}", verdict


def shown(value: float, unit: str) -> str:
    """Three significant digits, small numbers without an exponent."""
    digits = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def spread(samples: Sequence[float]) -> dict[str, object]:
    """Samples as the JSON file keeps them."""
    rounded = [round(sample, 4) for sample in samples]
    return {"median": round(statistics.median(samples), 4), "samples": rounded}
