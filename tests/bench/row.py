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
        target: the limit, in `unit`; None for a value that only serves as a comparison.
        at_least: the value must reach the target; otherwise it must not exceed it.
        note: how it was measured, as far as a reader must know.
        detail: what else was seen, for the JSON file.
    """

    what: str
    value: float
    unit: str
    target: float | None
    at_least: bool = False
    note: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the target is met, if there is one."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """As text: what, value, target, verdict, note."""
        if self.target is None:
            return self.what, shown(self.value, self.unit), "", "", self.note
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "MISSED"
        return (
            self.what,
            shown(self.value, self.unit),
            f"{bound} {shown(self.target, self.unit)}",
            verdict,
            self.note,
        )


def shown(value: float, unit: str) -> str:
    """Three significant digits, small numbers without an exponent."""
    digits = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def spread(samples: Sequence[float]) -> dict[str, object]:
    """Samples as the JSON file keeps them."""
    rounded = [round(sample, 4) for sample in samples]
    return {"median": round(statistics.median(samples), 4), "samples": rounded}
