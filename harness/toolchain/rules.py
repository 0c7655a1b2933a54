"""The rules of the static check: what each is called, and whether breaking it is refused or noted.

Refused is only what Windows refuses to load. A project may say otherwise in `[check] rules` of winvm.toml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import ConfigurationError

REFUSE, NOTE, IGNORE = "refuse", "note", "ignore"

SEVERITY: Mapping[str, str] = {
    "machine": REFUSE,
    "subsystem": REFUSE,
    "checksum": REFUSE,
    "unsigned": REFUSE,
    "user-mode-import": REFUSE,
    "unknown-export": REFUSE,
    "unknown-module": NOTE,
    "no-init-section": NOTE,
    "init-stays": NOTE,
    "no-page-section": NOTE,
    "writable-code": NOTE,
    "unaligned-sections": NOTE,
}
"""Rule -> what breaking it means. Sources: the loader's own tests, and for the notes, advice of the WDK."""


@dataclass(frozen=True)
class Finding:
    """A rule that a driver breaks, and how."""

    rule: str
    text: str


def judge(
    findings: Iterable[Finding], rules: Mapping[str, str], tolerated: frozenset[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """What is refused and what is noted, one line each.

    Args:
        rules: rule -> severity, over that of `SEVERITY`.
        tolerated: rules that are at most a note here, unless `rules` says otherwise.

    Raises:
        ConfigurationError: `rules` has a rule that there is not.
    """
    unknown = sorted(set(rules) - set(SEVERITY))
    if unknown:
        raise ConfigurationError(
            f"[check] rules in winvm.toml has {unknown[0]!r}, which is no rule of the static check.",
            remedy=f"The rules are: {', '.join(SEVERITY)}.",
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
