"""Ends a pytest session on an error of winvm: its exit code, its paragraph, and what pytest says instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from _pytest.outcomes import Exit

from harness.display.unexpected import as_winvm_error, interrupted
from harness.errors import WinvmError


class Ended(Exit):
    """Ends the pytest session with the exit code of an error, which `Session` prints at the very end."""

    def __init__(self, error: WinvmError) -> None:
        super().__init__("printed below", error.exit_code)
        self.error = error


def leave(error: WinvmError) -> NoReturn:
    """Ends the pytest session."""
    raise Ended(error)


@contextmanager
def ending_the_session() -> Iterator[None]:
    """Ends the session, with winvm's exit code, on any error that is not a scenario's result."""
    try:
        yield
    except Exit:
        raise  # it is already an exit with message and code
    except Exception as error:  # a bug in winvm is shown as one paragraph, too
        if interrupted(error):
            raise KeyboardInterrupt from error
        leave(as_winvm_error(error))


def instead_of_the_place(config: pytest.Config, line: str) -> None:
    """Has pytest print this line, or nothing, and not the line of winvm that a session's end came to."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # pytest has no option for it
        vars(reporter)["_report_keyboardinterrupt"] = lambda: reporter.write_line(line) if line else None
