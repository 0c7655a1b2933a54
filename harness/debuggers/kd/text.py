"""Splits printed text into lines. Kernels print lines in pieces; a crash leaves the last one incomplete."""

from __future__ import annotations

from harness.debuggers.logged import LINE_LIMIT


class PrintedLines:
    """Joins pieces of text into lines; holds at most one line."""

    def __init__(self) -> None:
        self._partial = ""

    def feed(self, text: str) -> list[str]:
        """The lines that `text` completes, without line ends; a line that is too long is cut."""
        *complete, self._partial = (self._partial + text).split("\n")
        while len(self._partial) > LINE_LIMIT:
            complete.append(self._partial[:LINE_LIMIT])
            self._partial = self._partial[LINE_LIMIT:]
        return [line.removesuffix("\r") for line in complete]

    def flush(self) -> list[str]:
        """Ends and returns the incomplete line, if any: another event comes in between."""
        return self.feed("\n") if self._partial else []
