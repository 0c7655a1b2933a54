"""Text on a terminal: escaped, bounded, in paragraphs."""

from __future__ import annotations

import pytest

from harness.display.terminal import paragraph, printable
from harness.errors import HostError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil", "\\u202eevil"),
        ("tab\tstays", "tab\tstays"),
        ("ünïcode", "ünïcode"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_is_one_paragraph_with_its_evidence_below() -> None:
    shown = paragraph(HostError("QEMU 7.2 is too old.", remedy="Install 10.", detail="\x1b[2J\nlast"))
    assert shown.splitlines() == ["winvm: QEMU 7.2 is too old. Install 10.", "    \\x1b[2J", "    last"]


def test_long_evidence_keeps_its_end() -> None:
    shown = paragraph(HostError("No.", detail="\n".join(str(number) for number in range(100)))).splitlines()
    assert shown[1] == "    ... 60 lines left out ..."
    assert shown[-1] == "    99"
