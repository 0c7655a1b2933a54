"""Where the loggers `winvm.*` write: stderr for `winvm -v`, and `debug.log` of a run.

Loggers are `winvm.programs` (host programs), `winvm.winrm`, `winvm.sftp`, `winvm.libvirt` and `winvm.kd`.
Owns what such a line may hold: control characters are escaped, lines are cut, passwords and keys are left
out, and a file has a bounded size.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from harness.display.terminal import printable
from harness.host.logger import ROOT

FILE_BYTES = 4 << 20
"""A log file that grows beyond this is renamed to `debug.log.1`, replacing the previous one."""
LINE_CHARACTERS = 2000
SHORTEST_SECRET = 4
"""Characters; a shorter text occurs in too many lines by chance."""
LEFT_OUT = "[left out]"


_SECRET_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)"  # a certificate or key as PEM
    r"|\b(?:[0-9a-z]{6,13}\.){3}[0-9a-z]{6,13}\b"  # a KDNET key
    r"|(?<=\bkey[:=])\S+|(?<=\bpassword[:=])\S+|(?<=\bpass[:=])\S+",
    re.DOTALL | re.IGNORECASE,
)
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Leaves a text out of every later line of every logger."""
    if len(secret) >= SHORTEST_SECRET:
        _secrets.add(secret)


def to_stderr(stream: TextIO | None = None) -> Callable[[], None]:
    """Writes to stderr from now on; calling what this returns ends it."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter("%(name)s: %(message)s"))
    return _attach(handler)


def to_file(path: Path) -> Callable[[], None]:
    """Writes to `path`, readable by its owner alone, from now on; calling what this returns ends it.

    On a full disk only log lines are lost.

    Raises:
        OSError: the file cannot be made.
    """
    path.touch(mode=0o600)
    handler = _File(path, maxBytes=FILE_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(_Formatter("%(asctime)s.%(msecs)03d %(name)s: %(message)s", "%H:%M:%S"))
    return _attach(handler)


def to_file_of(owner: object, path: Path) -> Callable[[], None]:
    """As `to_file`, and ends at the latest when `owner` is garbage-collected."""
    return weakref.finalize(owner, to_file(path))


class _File(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that cannot be written is lost."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in _secrets:
            text = text.replace(secret, LEFT_OUT)
        text = printable(_SECRET_SHAPES.sub(LEFT_OUT, text))
        return text if len(text) <= LINE_CHARACTERS else f"{text[:LINE_CHARACTERS]} ..."


def _attach(handler: logging.Handler) -> Callable[[], None]:
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.DEBUG)

    def end() -> None:
        ROOT.removeHandler(handler)
        handler.close()

    return end
