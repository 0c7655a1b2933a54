"""The debug streams of Windows guests: with a kernel debugger, also after a restore, and without one."""

from __future__ import annotations

from pathlib import Path

from harness.debuggers.kd.stream import KdDebugStream
from harness.debuggers.kd.wire import Wire
from harness.debuggers.logged import LoggedStream


class WindowsDebugStream(KdDebugStream):
    """A `KdDebugStream` of a guest that is restored from a saved state.

    The kernel was saved without a debugger, or with one that is gone. It reports nothing until a debugger
    halts it once. This stream therefore halts it, and continues it at once.
    """

    def __init__(self, wire: Wire, log: Path, nonce: str) -> None:
        super().__init__(wire, log, nonce)
        self.host.break_in(look=False)

    def rearm(self) -> None:
        """Forgets the crash after the guest was reverted, and halts and continues the restored kernel."""
        super().rearm()
        self.host.break_in(look=False)


class MuteDebugStream(LoggedStream):
    """The stream of a guest without a debugger: only records that other sources add, no DbgPrint."""

    def __init__(self, log: Path, nonce: str) -> None:
        super().__init__(log, f"WINVM-MARK {nonce} ")

    def rearm(self) -> None:
        """Forgets the crash after the guest was reverted."""
        self._forget()

    def close(self) -> None:
        """Never raises."""
        self._log.close()
