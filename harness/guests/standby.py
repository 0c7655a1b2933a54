"""The interpreter that waits in a saved guest for an agent: started once, while the ready state is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from harness.crash.expectation import describe
from harness.deadline import Deadline
from harness.errors import BootCrashError, BootError, DeadlineError, TransportError
from harness.host.fileend import last_text
from harness.interfaces import GuestProcess, Transport
from harness.machine.protocol import Machine, MachineState
from harness.outcome import KernelCrash

CONSOLE_TAIL = 4000  # bytes
LOOK_S = 2.0
"""Seconds between two looks at the kernel while its interpreter starts."""

Crashed = Callable[[], KernelCrash | None]
"""The bugcheck that a guest's debugger has seen."""


def unseen() -> None:
    """The answer for a guest that nothing watches."""


class StandbyProcess(GuestProcess, Protocol):
    """A running guest command that another process can find again."""

    @property
    def facts(self) -> dict[str, str]:
        """What `Link.agent` needs to find it."""


class StandbyTransport(Transport, Protocol):
    """A transport of which a booting guest is asked whether it answers."""

    def wait_ready(self, deadline: Deadline, check: Callable[[], None] = ...) -> None:
        """Waits until the guest answers completely; `check` raises to give up early."""

    def start(self, argv: Sequence[str], deadline: Deadline) -> StandbyProcess:
        """Starts a program with open stdin."""


def await_answer(
    machine: Machine, transport: StandbyTransport, deadline: Deadline, crashed: Crashed = unseen
) -> None:
    """Blocks until the guest answers completely.

    Raises:
        BootCrashError: its kernel reported a bugcheck.
        BootError: the guest did not answer, or the machine ended; `detail` holds the console tail.
    """

    def alive() -> None:
        if machine.state() is not MachineState.RUNNING:
            raise BootError(
                f"The machine {machine.name} stopped while it was starting.",
                remedy="Its QEMU log is in the run's folder; `winvm doctor` checks the host.",
                detail=last_text(machine.channels.console, CONSOLE_TAIL),
            )
        _require_no_crash(crashed)

    try:
        transport.wait_ready(deadline, alive)
    except (DeadlineError, TransportError) as error:
        raise _not_ready(error, machine) from error


def make_ready(
    machine: Machine,
    transport: StandbyTransport,
    argv: Sequence[str],
    deadline: Deadline,
    *,
    remedy: str,
    before: Callable[[], object] = lambda: None,
    crashed: Crashed = unseen,
) -> dict[str, str]:
    """Blocks until the guest answers completely, then starts the interpreter that waits in a saved guest.

    Args:
        argv: the interpreter and `guest/agent/standby.py`.
        remedy: for an interpreter that does not start.
        before: called once the guest answers.
        crashed: asked while it boots, and while its interpreter starts.

    Returns:
        What `Link.agent` needs to find that interpreter again.

    Raises:
        BootCrashError: its kernel reported a bugcheck.
        BootError: the guest did not answer, or the machine ended; `detail` holds the console tail.
    """
    await_answer(machine, transport, deadline, crashed)
    try:
        before()
        return start_interpreter(transport, argv, deadline, remedy=remedy, crashed=crashed)
    except (DeadlineError, TransportError) as error:
        raise _not_ready(error, machine) from error


def start_interpreter(
    transport: StandbyTransport,
    argv: Sequence[str],
    deadline: Deadline,
    *,
    remedy: str,
    crashed: Crashed = unseen,
) -> dict[str, str]:
    """Starts the interpreter in a guest that answers; returns when it waits, and what finds it again.

    Raises:
        BootCrashError: the guest's kernel reported a bugcheck.
        BootError: it ended, or did not start in time; `detail` holds its output.
        TransportError, DeadlineError: the guest does not answer.
    """
    process = transport.start(argv, deadline)
    output = b""
    while process.exit_code is None and not deadline.expired:
        _require_no_crash(crashed)
        for _, data in process.receive(deadline if crashed is unseen else deadline.at_most(LOOK_S)):
            output = (output + data)[-CONSOLE_TAIL:]
            if b'"standby"' in output:
                return process.facts
    ended = "did not start in time" if process.exit_code is None else f"ended with {process.exit_code:#x}"
    raise BootError(
        f"The standby interpreter in the guest {ended}.",
        remedy=remedy,
        detail=output.decode("utf-8", "backslashreplace"),
    )


def _require_no_crash(crashed: Crashed) -> None:
    if crash := crashed():
        raise BootCrashError(
            f"The guest's kernel stopped while the guest started: {describe(crash)}.",
            remedy="The debug output below may say why.",
            detail=crash.text,
        )


def _not_ready(error: DeadlineError | TransportError, machine: Machine) -> BootError:
    return BootError(
        f"The guest did not become ready: {error.message}",
        remedy=error.remedy or "Read the console output below.",
        detail=last_text(machine.channels.console, CONSOLE_TAIL),
    )
