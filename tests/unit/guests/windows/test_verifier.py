"""Driver Verifier on a Windows guest: set, the restart waited for, and every refusal reported."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.deadline import Deadline
from harness.errors import BootError, TransportError
from harness.guests.windows.guest import PYTHON
from harness.guests.windows.spec.profile import WindowsProfile
from harness.guests.windows.verifier import SHUTDOWN, VERIFIER, verify_driver
from harness.interfaces import CommandResult, GuestProcess
from tests.fakes.profiles import windows_profile

SOON = 10.0


class Rebooting:
    """A transport to a guest that runs `verifier` and restarts: `uptimes` are reported one after another."""

    def __init__(self, uptimes: list[bytes], verifier: int = 2, shutdown: int | None = 0) -> None:
        self.uptimes = uptimes
        self.exit_codes = {VERIFIER: verifier, SHUTDOWN: shutdown}  # None: down before it answers
        self.ran: list[list[str]] = []
        self.open = 0

    def connect(self) -> Rebooting:
        self.open += 1
        return self

    def run(self, argv: Sequence[str], deadline: Deadline, on_output: object = None) -> CommandResult:
        deadline.check(argv[0])
        if argv[1:2] == ["-c"]:
            answer = self.uptimes.pop(0)
            if not answer:
                raise TransportError("Connection reset.")
            return CommandResult(0, answer, b"")
        self.ran.append(list(argv))
        if (code := self.exit_codes[argv[0]]) is None:
            raise TransportError("Connection reset.")
        return CommandResult(code, b"", b"its own words")

    def start(self, argv: Sequence[str], deadline: Deadline) -> GuestProcess:
        raise NotImplementedError

    def close(self) -> None:
        self.open -= 1


@pytest.mark.parametrize("shutdown", [0, None])
def test_driver_verifier_is_set_and_the_restart_waited_for(shutdown: int | None) -> None:
    guest = Rebooting([b"90000\r\n", b"90500\r\n", b"", b"1200\r\n"], shutdown=shutdown)
    verify_driver("drv.sys", PYTHON, guest.connect, Deadline.after(SOON))
    assert guest.ran == [
        [VERIFIER, "/standard", "/driver", "drv.sys"],
        [SHUTDOWN, "/r", "/f", "/t", "0"],
    ]
    assert (guest.open, guest.uptimes) == (0, [])


def test_driver_verifier_that_refuses_is_reported() -> None:
    guest = Rebooting([b"90000\r\n"], verifier=1)
    with pytest.raises(BootError, match=r"Driver Verifier refused drv\.sys: exit code 1") as caught:
        verify_driver("drv.sys", PYTHON, guest.connect, Deadline.after(SOON))
    assert "its own words" in caught.value.detail
    assert guest.open == 0


def test_a_guest_that_does_not_restart_for_driver_verifier_is_reported_at_once() -> None:
    guest = Rebooting([b"90000\r\n"], shutdown=5)
    with pytest.raises(BootError, match="refuses to restart: shutdown ended with exit code 5"):
        verify_driver("drv.sys", PYTHON, guest.connect, Deadline.after(SOON))
    assert guest.open == 0


def test_more_checks_than_the_standard_ones_are_flags() -> None:
    document = windows_profile("windows-11").model_dump()
    more = WindowsProfile.model_validate({**document, "verifier": ["low-resources", "irp-logging"]})
    guest = Rebooting([b"90000\r\n", b"1200\r\n"])
    verify_driver("drv.sys", PYTHON, guest.connect, Deadline.after(SOON), more.checks)
    assert guest.ran[0] == [VERIFIER, "/flags", "0x20dbf", "/driver", "drv.sys"]
    assert windows_profile("windows-11").checks == ("/standard",)
    with pytest.raises(ValueError, match="verifier"):
        WindowsProfile.model_validate({**document, "verifier": ["special-pool-of-mine"]})
