"""Ends runs with all their processes by a signal, as a service manager or a closed terminal does.

The processes of a run are in a cgroup of their own, where the host lets this process make one; else they are
found by the home in their environment. SIGKILL leaves files, which the next command removes. SIGTERM and
SIGHUP must leave no guest `GUEST_S` after the signal, and nothing after `PATIENCE_S`.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.machine.leftovers import remove_leftovers
from tests.soak.leftovers import processes
from tests.soak.project import Project

GUEST_S = 3.0
"""Seconds from the signal in which the guest must end."""
PATIENCE_S = 10.0
"""Seconds in which the run must have written its reports and be gone."""
GIVE_UP_S = 60.0
POLL_S = 0.02
SHOWN_BYTES = 2000
QEMU = "/qemu-system-x86_64"
CGROUPS = Path("/sys/fs/cgroup")


class Group:
    """All processes of one run; `folder` is its cgroup, None where there is none."""

    def __init__(self, here: Project, folder: Path | None) -> None:
        self._here = here
        self._folder = folder

    def add(self, pid: int) -> None:
        """Puts a process, and all that it will start, into the cgroup."""
        if self._folder:
            (self._folder / "cgroup.procs").write_text(str(pid))

    def members(self) -> list[int]:
        """Process ids, this process never among them."""
        if self._folder:
            return [int(line) for line in (self._folder / "cgroup.procs").read_text().split()]
        found = [pid for pid, _ in processes(os.fsencode(self._here.home))]
        return [pid for pid in found if pid != os.getpid()]

    def send(self, number: signal.Signals) -> int:
        """Sends a signal to every member; how many there were."""
        members = self.members()
        if number is signal.SIGKILL and self._folder and (self._folder / "cgroup.kill").exists():
            (self._folder / "cgroup.kill").write_text("1")
        else:
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        return len(members)


@contextmanager
def group(here: Project) -> Iterator[Group]:
    """A new group; its cgroup is removed afterwards."""
    folder = None
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="winvm-soak-", dir=CGROUPS))
        if not (folder / "cgroup.procs").exists():
            folder.rmdir()
            folder = None
    try:
        yield Group(here, folder)
    finally:
        if folder:
            with contextlib.suppress(OSError):
                folder.rmdir()


def left_after(here: Project, ports: Iterable[int], seconds: float) -> list[str]:
    """What is left after so many seconds; empty at once when nothing is. A watchdog ends a moment later."""
    until = time.monotonic() + seconds
    while (left := here.left(ports)) and time.monotonic() < until:
        time.sleep(POLL_S)
    return left


def end_one(
    here: Project, words: tuple[str, ...], delay_s: float, number: signal.Signals, *, whole: bool
) -> tuple[float, list[str]]:
    """Starts a run, ends it, and looks for what is left.

    Args:
        delay_s: from the start to the signal.
        whole: signal every process; else the process group of the command, as a terminal does.

    Returns:
        seconds from the signal until nothing was left, and what was left too long, with the end of what the
        run printed. After SIGKILL, the next command's removal of leftovers is part of that time.
    """
    with group(here) as members, tempfile.TemporaryFile() as printed:
        run = subprocess.Popen(
            here.words(*words),
            env=here.environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
        with run:
            members.add(run.pid)
            time.sleep(delay_s)
            ports = here.ports()
            sent = time.monotonic()
            if whole:
                members.send(number)
            else:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, number)
            if number is signal.SIGKILL:
                run.wait(GIVE_UP_S)
                here.age_half_made()
                remove_leftovers(here.home / "runs")
            late: list[str] = []
            while left := here.left(ports):
                waited = time.monotonic() - sent
                guest = [what for what in left if QEMU in what or what.startswith("port ")]
                if not late and (waited > PATIENCE_S or (waited > GUEST_S and guest)):
                    late = [f"{waited:.1f} s: {what}" for what in left]
                if waited > GIVE_UP_S:
                    members.send(signal.SIGKILL)
                    break
                time.sleep(POLL_S)
            seconds = time.monotonic() - sent
            if late:
                printed.seek(-min(SHOWN_BYTES, printed.seek(0, os.SEEK_END)), os.SEEK_END)
                late.append(f"exit code {run.poll()}, printed: {printed.read()!r}")
            return seconds, late


def ended_groups(
    here: Project,
    count: int,
    signals: tuple[signal.Signals, ...],
    words: tuple[str, ...],
    chance: random.Random,
) -> tuple[str, str, bool]:
    """Ends `count` runs at random points by the signals in turn, every second one with all its processes."""
    began = time.monotonic()
    subprocess.run(
        here.words(*words), env=here.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    length, slowest, dirty = time.monotonic() - began, 0.0, []
    for number in range(count):
        signal_ = signals[number // 2 % len(signals)]
        seconds, left = end_one(here, words, chance.uniform(0, length), signal_, whole=number % 2 == 0)
        slowest = max(slowest, seconds)
        dirty += [f"{signal_.name} on run {number}: {what}" for what in left]
    wanted = f"no guest left after {GUEST_S:g} s, nothing after {PATIENCE_S:g} s"
    if signal.SIGKILL in signals:
        wanted = "nothing left after the next command"
    return wanted, f"{count} ended, slowest {slowest:.1f} s; left: {dirty}", not dirty
