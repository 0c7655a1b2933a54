"""The rules of the static check: what each is called, and whether breaking it is refused or noted.

By default, only what Windows refuses to load is refused. `[check] rules` in winvm.toml overrides this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError

REFUSE, NOTE, IGNORE = "refuse", "note", "ignore"

SEVERITY: Mapping[str, str] = {
    "machine": REFUSE,
    "subsystem": REFUSE,
    "checksum": REFUSE,
    "layout": REFUSE,
    "entry-not-executable": REFUSE,
    "unsigned": REFUSE,
    "user-mode-import": REFUSE,
    "unknown-export": REFUSE,
    "unknown-module": NOTE,
    "no-init-section": NOTE,
    "init-stays": NOTE,
    "no-page-section": NOTE,
    "writable-code": NOTE,
    "unaligned-sections": NOTE,
    "wine-format": NOTE,
    "wine-routine": NOTE,
    "wine-exception-code": NOTE,
    "inf-version": REFUSE,
    "inf-catalogue": REFUSE,
    "inf-platform": REFUSE,
    "inf-file": REFUSE,
    "inf-directive": NOTE,
    "inf-section": NOTE,
    "inf-service": NOTE,
    "inf-string": NOTE,
}
"""Rule -> severity. Sources: the loader's own tests; for the notes, advice of the WDK. Of an INF, that is
refused which Windows installs nothing without, by the WDK's documentation."""


@dataclass(frozen=True)
class RuleFinding:
    """A rule that a driver breaks, and what exactly breaks it."""

    rule: str
    text: str


def judge(
    findings: Iterable[RuleFinding], rules: Mapping[str, str], tolerated: frozenset[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """The refused findings and the noted ones, one line each.

    Args:
        rules: rule -> severity, overriding `SEVERITY`.
        tolerated: rules that are at most a note here, unless `rules` says otherwise.

    Raises:
        ConfigurationError: `rules` has an unknown rule.
    """
    unknown = sorted(set(rules) - set(SEVERITY))
    if unknown:
        raise ConfigurationError(
            f"[check] rules in winvm.toml has {unknown[0]!r}, which is not a rule of the static check."
            f"{did_you_mean(unknown[0], SEVERITY)}",
            remedy=f"Choose among: {', '.join(SEVERITY)}.",
        )
    refused, noted = [], []
    for finding in findings:
        severity = SEVERITY[finding.rule]
        if severity == REFUSE and finding.rule in tolerated:
            severity = NOTE
        severity = rules.get(finding.rule, severity)
        if severity == REFUSE:
            refused.append(finding.text)
        elif severity == NOTE:
            noted.append(finding.text)
    return refused, noted
