"""Ends a pytest session on an error of winvm, with its exit code and its paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

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
