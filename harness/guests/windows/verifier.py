"""Sets Driver Verifier for the driver under test, once, before the guest's ready state is saved.

Syntax and exit codes are those of Microsoft's documentation of `verifier.exe`. `/standard` is used where no
more is asked for, not the number of its flags: on Windows 10 1803 and later the number leaves out some of the
standard rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from harness.deadline import Deadline
from harness.errors import BootError, DeadlineError, TransportError
from harness.interfaces import Transport

VERIFIER = r"C:\Windows\System32\verifier.exe"
SHUTDOWN = r"C:\Windows\System32\shutdown.exe"
DONE = (0, 2)
"""2: done, but a restart is needed."""
POLL_S = 1.0
ANSWER_S = 30.0
UPTIME = (
    "import ctypes;clock=ctypes.windll.kernel32.GetTickCount64;clock.restype=ctypes.c_uint64;print(clock())"
)
"""Prints the milliseconds since boot: fewer than before mean that the guest has restarted."""


def verify_driver(
    driver: str,
    python: str,
    connect: Callable[[], Transport],
    deadline: Deadline,
    checks: Sequence[str] = ("/standard",),
) -> None:
    """Sets Driver Verifier for `driver` (a file name) and restarts the guest.

    Args:
        checks: its settings, as verifier.exe takes them.
        python: path of the guest's interpreter.
        connect: returns a connection to the guest once it answers; called again after the restart.

    Raises:
        BootError: Driver Verifier refuses the driver, or Windows refuses to restart.
        DeadlineError, TransportError: the guest does not come back.
    """
    transport = connect()
    try:
        before = _uptime(transport, python, deadline)
        done = transport.run([VERIFIER, *checks, "/driver", driver], deadline)
        if done.exit_code not in DONE:
            raise BootError(
                f"Driver Verifier refused {driver}: exit code {done.exit_code}.",
                remedy="Its output is below; without --verifier the guest starts as it is.",
                detail=(done.stdout + done.stderr).decode("utf-8", "backslashreplace"),
            )
        _restart(transport, deadline.at_most(ANSWER_S))
    finally:
        transport.close()
    if not any(_restarted(connect, python, before, deadline) for _ in deadline.tries(every=POLL_S)):
        deadline.check("The guest's restart under Driver Verifier")


def _restart(transport: Transport, deadline: Deadline) -> None:
    with contextlib.suppress(TransportError, DeadlineError):  # it may be gone before it has answered
        done = transport.run([SHUTDOWN, "/r", "/f", "/t", "0"], deadline)
        if done.exit_code:
            raise BootError(
                f"The guest refuses to restart: shutdown ended with exit code {done.exit_code}.",
                remedy="Its output is below; without --verifier no restart is needed.",
                detail=(done.stdout + done.stderr).decode("utf-8", "backslashreplace"),
            )


def _restarted(connect: Callable[[], Transport], python: str, before: int, deadline: Deadline) -> bool:
    transport = connect()
    try:
        return _uptime(transport, python, deadline.at_most(ANSWER_S)) < before
    except (TransportError, DeadlineError):  # it goes down: its connections break, or are silent
        return False
    finally:
        transport.close()


def _uptime(transport: Transport, python: str, deadline: Deadline) -> int:
    done = transport.run([python, "-c", UPTIME], deadline)
    try:
        return int(done.stdout)
    except ValueError as error:
        raise TransportError(
            f"The guest did not report its uptime: exit code {done.exit_code}.",
            remedy="Its Python may be damaged: build the image again.",
            detail=(done.stdout + done.stderr)[-2000:].decode("utf-8", "backslashreplace"),
        ) from error
