"""QEMU processes of a run folder: found by libvirt's pidfiles, confirmed by their command line, then killed.

Process ids are reused, so none is ever signalled by number: a pidfd is opened first, then the command line is
read, then the signal goes to the pidfd.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from harness.errors import MachineError
from harness.host.regular import open_regular
from harness.machine.channels import SOCKETS

_PR_SET_CHILD_SUBREAPER = 36
_REAPER = "reap QEMUs"
_REAP_SECONDS = 0.02
_REMEMBERED = 64
_PIDFILE_BYTES = 32
_signals: OrderedDict[int, int] = OrderedDict()
"""Process id of an adopted QEMU -> the signal that ended it; the newest."""


def adopt_qemus(root: Path) -> None:
    """Makes this process the parent of the daemonised QEMUs it starts, and reaps each when it has ended.

    `root` is libvirt's, whose pidfiles tell a QEMU that died before its launcher gave it its name. This
    process becomes the parent of other orphans as well: of the inner process of a bubblewrap that was killed.

    libvirt's destroy, save and capability probes wait until a dead QEMU's process id is gone, that is until
    its parent has reaped it. Where PID 1 is no real init that is late (1.5 s measured) or never.
    """
    if not any(thread.name == _REAPER for thread in threading.enumerate()):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=_reap, args=(root,), name=_REAPER, daemon=True).start()


def _reap(root: Path) -> None:
    while True:
        try:
            # WNOWAIT does not reap: a child that was not adopted belongs to subprocess or to libvirt.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            time.sleep(_REAP_SECONDS)
            continue
        # The one that waitid names may be another's for long: each child is looked at.
        reaped = [_reap_if_adopted(pid, root) for pid in _children()]
        if not any(reaped):
            time.sleep(_REAP_SECONDS)


def _children() -> set[int]:
    """Process ids of the children of all threads, dead ones too (proc_pid_children(5))."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (task / "children").read_text(encoding="ascii").split()))
    return found


def _reap_if_adopted(pid: int, root: Path) -> bool:
    with contextlib.suppress(ChildProcessError):
        dead = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead is not None and _is_adopted(pid, root):
            if dead.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                _signals[pid] = dead.si_status
                while len(_signals) > _REMEMBERED:
                    _signals.popitem(last=False)
            else:
                _signals.pop(pid, None)
            os.waitpid(pid, os.WNOHANG)
            return True
    return False


def ended_by(pid: int) -> int:
    """The signal that ended an adopted QEMU; 0 if it lives, ended otherwise or was not adopted here."""
    # Numbers are used again: a living process was ended by nothing.
    return 0 if Path(f"/proc/{pid}").exists() else _signals.get(pid, 0)


def _is_adopted(pid: int, root: Path) -> bool:
    """Whether a dead child is a QEMU that daemonised itself, or the inner process of a killed bubblewrap.

    They have a session of their own, unlike most direct children (proc(5), stat: fields 2 and 6). A dead
    process has no command line any more, and the name of a launcher that is killed as it starts is that of
    libvirt's thread, of a shell or of Python; then only libvirt's pidfile says that it is to be a QEMU.
    """
    try:
        name, rest = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)
    except OSError:
        return False
    if int(rest.split()[3]) == os.getsid(0):
        return False
    return "(qemu-system" in name or name.endswith("(bwrap") or pid in _recorded(root)


def qemu_processes(folder: Path) -> list[int]:
    """Process ids of the living QEMUs that libvirt started for `folder`.

    Looks at every pidfile below it: the domains' (`run/qemu/*.pid`) and those of libvirt's capability probes.
    The folder of a machine's sockets is left out, since QEMU's user can put anything there.
    """
    return sorted(pid for pid in _recorded(folder) if _is_qemu_of(pid, folder))


def _recorded(folder: Path) -> set[int]:
    found = set()
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name != SOCKETS]
        for name in names:
            if name.endswith(".pid"):
                with contextlib.suppress(OSError, ValueError), open_regular(Path(place, name)) as file:
                    found.add(int(file.read(_PIDFILE_BYTES)))
    return found


def end_process(pid: int, folder: Path, seconds: float = 10.0) -> bool:
    """SIGKILLs `pid` if it is a QEMU of `folder` and waits for its end; False when it is not (or is gone).

    Nothing is lost by SIGKILL: its overlay is thrown away, and what it wrote to channel files is in the page
    cache.

    Raises:
        MachineError: the process does not end (it hangs in the kernel).
    """
    with _pidfd(pid) as handle:
        if handle is None or not _is_qemu_of(pid, folder):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        # A pidfd becomes readable when the process has ended, also while it waits to be reaped.
        if not select.select([handle], [], [], seconds)[0]:
            raise MachineError(
                f"QEMU process {pid} did not end within {seconds:g} s of SIGKILL.",
                remedy="Look at the host's kernel log; its storage may hang.",
            )
        return True


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _is_qemu_of(pid: int, folder: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # Until the launcher has become QEMU, the program is its interpreter: /bin/sh, then Python.
    programs = [argument.rsplit(b"/", 1)[-1] for argument in arguments[:3]]
    inside = os.fsencode(folder) + b"/"
    return any(name.startswith((b"qemu-", b"qemu_launcher")) for name in programs) and any(
        inside in argument for argument in arguments
    )
