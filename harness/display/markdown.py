"""Text in Markdown. Owns the rule that nothing from the guest is markup there."""

from __future__ import annotations

from harness.display.terminal import printable


def code(text: str) -> str:
    """Text as code; nothing in it can end the code."""
    return f"`{printable(text).replace('`', chr(39))}`"


def plain(text: str) -> str:
    """Text outside code, with the special characters of Markdown and HTML escaped."""
    return "".join(f"&#{ord(c)};" if c in "<>&`*[]|\\" else c for c in printable(text))
