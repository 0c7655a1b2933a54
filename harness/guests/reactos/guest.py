"""The ReactOS guest: where things are inside it, and how to reach them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from harness.crash.dump_source import DumpSource, GuestMinidump, KernelDump
from harness.deadline import Deadline
from harness.debuggers.kd.com.socket import KdcomSocket
from harness.display.terminal import printable
from harness.errors import BootCrashError
from harness.guests.link import GuestSerialLink
from harness.guests.protocol import Reachable
from harness.guests.reactos.image.sealed import ReactosImage
from harness.guests.reactos.spec.domain import AGENT_SOCKET, JOURNAL, KD_SOCKET
from harness.guests.reactos.spec.profile import ReactosProfile, build_again
from harness.guests.standby import CONSOLE_TAIL, make_ready
from harness.guests.windows.debug_stream import WindowsDebugStream
from harness.guests.windows.guest import PYTHON, STANDBY
from harness.host.fileend import last_text
from harness.host.logger import logger
from harness.interfaces import DebugStream
from harness.machine.protocol import Machine
from harness.outcome import KernelCrash

SET_CLOCK = (
    "import ctypes,sys;"
    "ntdll=ctypes.WinDLL('ntdll');"
    "ntdll.RtlAdjustPrivilege(12,1,0,ctypes.byref(ctypes.c_ubyte()));"
    "status=ntdll.NtSetSystemTime(ctypes.byref(ctypes.c_int64(%d)),None);"
    "print('%%#x' %% (status&0xffffffff),file=sys.stderr);"
    "sys.exit(status!=0)"
)
"""Its SetSystemTime ends with error 2. 12 is SeSystemtimePrivilege; a time counts 100 ns since 1601."""
UNIX_EPOCH = 116_444_736_000_000_000
"""1970 in these units."""
BOOTS = 3
"""Starts of the system until it is ready."""
_LOG = logger("reactos")


def filetime(seconds: float) -> int:
    """The time of day, given in seconds since 1970, as Windows counts it."""
    return UNIX_EPOCH + int(seconds * 10_000_000)


class ReactosLink(GuestSerialLink):
    """Connections to one running ReactOS guest; implements `Link`."""

    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`. A guest that refuses keeps the time of its saved state: nothing here depends on it."""
        done = self.transport.run([PYTHON, "-S", "-c", SET_CLOCK % filetime(time.time())], deadline)
        if done.exit_code:
            said = printable(done.stderr.decode("utf-8", "backslashreplace").strip()[-300:])
            _LOG.warning("the guest's clock is not set: NtSetSystemTime: %s %s", done.exit_code, said)


@dataclass(frozen=True)
class ReactosGuest:
    """One image of a ReactOS guest.

    Attributes:
        image: the sealed image.
        profile: whose machine it runs in.
    """

    image: ReactosImage
    profile: ReactosProfile

    run_folder = r"C:\winvm\run"
    journal_port = JOURNAL

    @property
    def image_manifest(self) -> Path:
        """See `Guest`."""
        return self.image.manifest

    def link(self, host: Reachable) -> ReactosLink:
        """See `Guest`."""
        return ReactosLink(host, host.channels.console.with_name(AGENT_SOCKET))

    def debug_stream(
        self,
        machine: Machine,
        log: Path,
        nonce: str,
        skip: int = 0,  # noqa: ARG002 - nothing lies in a file
    ) -> WindowsDebugStream:
        """See `Guest`. The kernel's debugger alone reports a crash."""
        return WindowsDebugStream(KdcomSocket(machine.folder / KD_SOCKET), log, nonce)

    def dump(self, crash: KernelCrash, debug: DebugStream) -> DumpSource:  # noqa: ARG002
        """See `Guest`. It writes none itself: the host dumps the machine's memory."""
        if crash.kind != "bugcheck":
            return GuestMinidump("", absent="the host dumps its memory only after a bugcheck.")
        return KernelDump(crash, "", connect=lambda machine: self.link(machine).files, waits=lambda: True)

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """See `make_ready`. A system whose kernel stops meanwhile is started `BOOTS` times in all.

        One of three starts of a debug build was seen to end in bugcheck 0xC000021A (its winlogon dies).
        """
        starts = 1
        while True:
            try:
                return self._booted(machine, deadline)
            except BootCrashError as error:
                _LOG.warning("start %d of %d: %s", starts, BOOTS, error.message)
                if starts == BOOTS:
                    error.remedy = f"It did so in each of {BOOTS} starts: try another build of the system."
                    raise
            machine.revert(deadline)
            starts += 1

    def _booted(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """A debugger is there while it boots: without one, each line it prints waits."""
        log = machine.folder / "boot.log"
        debug = WindowsDebugStream(KdcomSocket(machine.folder / KD_SOCKET), log, "boot")
        link = self.link(machine)
        try:
            return make_ready(
                machine,
                link.transport,
                [PYTHON, "-u", STANDBY],
                deadline,
                remedy=build_again(self.profile.name),
                crashed=debug.crash,
            )
        except BootCrashError as error:
            error.detail = last_text(log, CONSOLE_TAIL)
            raise
        finally:
            link.close()
            debug.close()
