"""Leaves a crashed guest as it is for a person, until Enter or Ctrl-C; the run ends then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.crash.expectation import describe
from harness.display.terminal import printable
from harness.errors import ConfigurationError
from harness.guests.registry import flavour_of
from harness.outcome import CrashRecord
from harness.run.guest_session import GuestSession

ENDED = "the guest was held at a crash"
TERMINAL = Path("/dev/tty")


class Hold:
    """What a run does at its first unexpected crash, once the evidence is kept.

    Args:
        ask: shows lines to the user and returns when the user has seen enough.
    """

    def __init__(self, ask: Callable[[list[str]], None]) -> None:
        self._ask = ask

    def __call__(self, guest: GuestSession, crash: CrashRecord) -> None:
        """Shows where the guest is, and waits."""
        self._ask(list(held_lines(guest, crash)))


def held_lines(guest: GuestSession, crash: CrashRecord) -> Iterator[str]:
    """What crashed, where its evidence is, and how to reach the guest."""
    yield printable(f"{crash.scenario}: {describe(crash.report)}")
    yield f"evidence    {crash.folder}"
    if guest.lend_kernel():
        yield "kernel      halted; attach a debugger with what follows:"
        try:
            machine, image = guest.machine.folder, guest.image_manifest.parent
            line = flavour_of(guest.profile).kernel_line(guest.profile, machine, image)
        except ConfigurationError as error:
            yield f"            {error.message}"
        else:
            where = f"--serial {line.serial}" if line.serial else f"--port {line.port}"
            key = f" --key-file {line.key_file}" if line.key_file else ""
            yield f"            winvm debug {where}{key}"
    ports = ", ".join(f"{name} {guest.machine.address}:{port}" for name, port in guest.machine.ports.items())
    yield f"guest       {ports or 'no forwarded ports'}"
    yield "Enter or Ctrl-C ends the guest and the run."


def ask_terminal(lines: list[str], path: Path = TERMINAL) -> None:
    """Shows the lines on the terminal and waits for Enter or Ctrl-C there.

    Without a terminal nobody can look at the guest: the lines go to stderr, and nothing waits.
    """
    text = f"\nwinvm: {chr(10).join(lines)}\n"
    try:
        with path.open("w", encoding="utf-8") as screen, path.open(encoding="utf-8") as keyboard:
            screen.write(text)
            screen.flush()
            keyboard.readline()  # of the terminal: pytest reads the standard input
    except OSError:
        sys.stderr.write(f"{text}There is no terminal: the guest is not held.\n")
