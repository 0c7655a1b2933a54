"""Consoles of running guests: VNC on a UNIX socket in each machine's folder, which only its owner enters.

QEMU makes the socket; it needs no password because no other user can reach it. Every process of the same user
finds it: that of `winvm image build`, of a run, and a person's at another terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigurationError, MachineError
from harness.machine.channels import VNC_SOCKET
from harness.machine.record import MachineRecord

PROC_UNIX = Path("/proc/net/unix")
ACCEPTS = "00010000"
"""`__SO_ACCEPTCON`: the flag of a socket that somebody listens on."""


@dataclass(frozen=True)
class Console:
    """A guest that runs. name: RUN/MACHINE. profile: empty while the guest is being started."""

    name: str
    profile: str
    socket: Path


def consoles(runs: Path) -> list[Console]:
    """Those of every guest under `runs` that runs on this host, newest first."""
    listening = _listening()
    found = [path for path in runs.resolve().glob(f"*/*/{VNC_SOCKET}") if str(path) in listening]
    return [_described(path) for path in sorted(found, key=_age, reverse=True)]


def find(runs: Path, wanted: str = "") -> Console:
    """The console of a guest.

    Args:
        wanted: a profile's name, or the guest's `name`; by default the only guest there is.

    Raises:
        ConfigurationError: no guest, or several, have that name.
    """
    running = consoles(runs)
    fitting = [one for one in running if not wanted or wanted in (one.profile, one.name)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{one.name} ({one.profile or 'starting'})" for one in running)
    if not fitting:
        raise ConfigurationError(
            f"No guest {wanted} runs on this host." if wanted else "No guest runs on this host.",
            remedy=f"Guests that run: {listed}." if running else "Start one: winvm up",
        )
    raise ConfigurationError(f"Several guests run: {listed}.", remedy="Name one of them: --guest RUN/MACHINE")


def _described(path: Path) -> Console:
    machine = path.parents[1]
    try:
        profile = MachineRecord.load(machine).spec.profile.name
    except (MachineError, ConfigurationError):
        profile = ""
    return Console(f"{machine.parent.name}/{machine.name}", profile, path)


def _listening() -> set[str]:
    """Paths of the UNIX sockets that somebody listens on (proc(5), /proc/net/unix).

    To connect would disturb the guest: QEMU releases every key of its keyboard when a client leaves.
    """
    found = set()
    with PROC_UNIX.open(encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) == 8 and fields[3] == ACCEPTS:
                found.add(fields[7])
    return found


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
