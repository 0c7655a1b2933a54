"""The bench's loggers, `winvm.NAME`. Their lines go only where `harness.display.debuglog` says."""

from __future__ import annotations

import logging

ROOT = logging.getLogger("winvm")
ROOT.addHandler(logging.NullHandler())
ROOT.propagate = False  # never to the handlers of whoever imports winvm


def logger(name: str) -> logging.Logger:
    """The logger `winvm.NAME`."""
    return ROOT.getChild(name)
