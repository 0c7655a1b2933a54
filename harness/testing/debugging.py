"""breakpoint() and `--pdb` in scenarios: the guest's debugger on the terminal of this pytest session."""

from __future__ import annotations

import bdb
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from _pytest.outcomes import Failed

from harness.agent.session import Debugging
from harness.display.keyboard import Keyboard

NO_TERMINAL = "--pdb needs a terminal; the scenarios run without it."


def debugging(
    config: pytest.Config, quiet: Callable[[], AbstractContextManager[object]], warn: Callable[[str], None]
) -> Debugging | None:
    """Who debugs the scenarios of a session; None without a terminal, where breakpoint() is refused.

    Args:
        quiet: entered while a person is asked: nothing else may print meanwhile.
        warn: told if `--pdb` was asked for in vain.
    """
    keyboard, post_mortem = Keyboard(), bool(config.getoption("usepdb", False))
    with quiet():
        attended = keyboard.attended
    if not attended:
        if post_mortem:
            warn(NO_TERMINAL)
        return None

    def ask(text: str) -> str:
        with quiet():
            return keyboard.ask(text)

    return Debugging(ask, post_mortem)


class DebuggedError(Failed, bdb.BdbQuit):
    """A failed scenario under `--pdb`: pytest opens no debugger of its own, on the host, for a `BdbQuit`."""
