"""The connection to libvirt: embedded driver, its event loop, deadlines for its blocking calls, its errors.

Facts of libvirt 11.3, measured: `qemu:///embed?root=DIR` needs no daemon; a process can open one root only,
for as long as it lives; one process at a time may hold a root; after SIGKILL of the owner the domains run on
and the next process that opens the root controls them; without a running event loop domain creation hangs.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError, MachineError
from harness.host.logger import logger
from harness.machine import daemon
from harness.machine.bindings import libvirt
from harness.machine.remote.ssh import TRY_IT, Target, unasked

T = TypeVar("T")
_LOG = logger("libvirt")

_QEMU_CONF = """\
# Written by winvm for this libvirt root.
stdio_handler = "file"        # else virtlogd must run, and it rotates serial files at 2 MiB
dynamic_ownership = 0         # files stay whose they are
remember_owner = 0
security_driver = "none"      # no AppArmor or SELinux profile knows these paths
security_default_confined = 0
namespaces = []               # no private /dev: saves a mount namespace per start
seccomp_sandbox = 1           # QEMU starts no program, gains no privilege, makes no obsolete system call
cgroup_controllers = []       # works in containers without a writable cgroup tree
save_image_format = "sparse"  # each page has its place in the file: QEMU writes and reads it without the
                               # helper program that "raw" needs, and zero pages take no space
"""

QEMU_CONF = (
    _QEMU_CONF
    + """\
user = "root"                 # else root's QEMU runs as libvirt-qemu and cannot read a home directory
group = "root"
"""
)
"""For a libvirt of root's. An ordinary user's runs QEMU as that user, and may not name another."""
LAUNCHED = "clear_emulator_capabilities = 0  # qemu_launcher.py needs them, and takes them from QEMU\n"
ABORT_SECONDS, ABORT_POLL_SECONDS = 10.0, 0.1
"""How long, and how often, a call that is given up is made to end."""
OPEN_SECONDS = 60.0
"""Seconds for a daemon to open its first connection: it then probes the capabilities of each QEMU."""
KEEPALIVE = 10, 6
"""Seconds between libvirt's keepalives to another host's daemon, and how many may stay unanswered."""
REOPEN_SECONDS = 30.0
"""Seconds a daemon may take to restart; calls that wait for it have deadlines of their own."""
SOCKET_PATH_LIMIT = 107
"""Longest UNIX socket path in bytes; libvirt puts QEMU's monitor socket below the root."""


class _EventLoop:
    """The thread of libvirt's default event loop: one for the process, started with the first use."""

    _lock = threading.Lock()
    _instance: _EventLoop | None = None

    def __init__(self) -> None:
        libvirt.virEventRegisterDefaultImpl()
        # libvirt prints every error to stderr otherwise; each is raised as an exception as well.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    @classmethod
    def ensure(cls) -> None:
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()

    def _run(self) -> None:
        while not self._stopping:
            libvirt.virEventRunDefaultImpl()

    def _stop(self) -> None:
        # A timeout that is due at once wakes the loop; it must be gone before the interpreter is.
        self._stopping = True
        libvirt.virEventAddTimeout(0, lambda _timer, _opaque: None, None)
        self._thread.join(timeout=2.0)


@contextmanager
def translated(what: str, remedy: str = "", detail: Callable[[], str] = str) -> Iterator[None]:
    """Turns libvirt's error into `MachineError` saying that `what` failed; `detail` is called only then."""
    _LOG.debug("%s", what)
    try:
        yield
    except libvirt.libvirtError as error:
        _LOG.debug("%s failed: %s", what, _words(error))
        raise MachineError(f"{what} failed: {_words(error)}.", remedy=remedy, detail=detail()) from error


def within(deadline: Deadline, what: str, call: Callable[[], T], abort: Callable[[], None]) -> T:
    """Runs a blocking libvirt call in a thread; past the deadline calls `abort` and raises `DeadlineError`.

    libvirt's calls have no timeout, and one in the main thread would hold back Ctrl-C until it returns.
    `abort` must make the call end (ending QEMU does). It also runs when the wait is interrupted, and again
    until the call has ended: libvirt may be about to start QEMU, and would write to a removed folder.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)
        ended.set()

    try:
        threading.Thread(target=run, name=f"libvirt: {what}", daemon=True).start()
        ended.wait(deadline.remaining())
    except BaseException:
        _abort_until(ended, abort)
        raise
    if not ended.is_set():
        _abort_until(ended, abort)
        raise DeadlineError(f"{what} did not finish within {deadline.seconds:g} s.")
    if errors:
        raise errors[0]
    return results[0]


def _abort_until(ended: threading.Event, abort: Callable[[], None]) -> None:
    for _ in Deadline.after(ABORT_SECONDS).tries(every=ABORT_POLL_SECONDS):
        abort()
        if ended.is_set():
            return


class Connection:
    """An open libvirt connection. `api` is the foreign object, used inside this package only."""

    def __init__(self, uri: str, root: Path | None = None, seconds: float = OPEN_SECONDS) -> None:
        """Opens `uri`. A daemon has no `root`, and its qemu.conf must have the settings of `QEMU_CONF`.

        Args:
            seconds: for a daemon to answer.

        Raises:
            ConfigurationError: `uri` names another host by a transport other than SSH.
            HostError: libvirt refuses; the message says what to install or start.
            DeadlineError: a daemon does not answer.
        """
        _EventLoop.ensure()
        self.uri = uri
        self.remote = Target.of(uri)
        self._root = root
        self._seconds = seconds
        self._api = self._open()

    @property
    def api(self) -> Any:
        """libvirt's own object; a new one after its daemon was restarted. A restart leaves machines running.

        Raises:
            HostError: the daemon does not come back.
        """
        if not self._api.isAlive():
            self._api = self._reopen()
        return self._api

    @property
    def shared(self) -> bool:
        """Whether a daemon serves this connection, and maybe others."""
        return self._root is None

    def require_usable(self, qemu_conf: str) -> None:
        """Raises `HostError` unless the daemon is configured for runs; see `daemon.require_usable`."""
        daemon.require_usable(self._capabilities(), qemu_conf, self.uri)

    @property
    def pidfiles(self) -> Path:
        """Where libvirt leaves the process ids of its QEMUs."""
        return self._root / "run" / "qemu" if self._root else Path("/run/libvirt/qemu")

    @property
    def logs(self) -> Path:
        """Where libvirt leaves the logs of its QEMUs."""
        return self._root / "log" / "qemu" if self._root else Path("/var/log/libvirt/qemu")

    @classmethod
    def embedded(cls, root: Path) -> Self:
        """Opens the daemonless driver with its state below `root`; creates `root` and its configuration.

        Raises:
            HostError: libvirt refuses, or the path is too long for its sockets.
        """
        longest = f"{root}/lib/qemu/domain-99-{'x' * 12}/monitor.sock"
        if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
            raise HostError(
                f"{root} is too long a path: libvirt's sockets in it would pass {SOCKET_PATH_LIMIT} bytes.",
                remedy="Set WINVM_HOME to a shorter path.",
            )
        configuration = root / "etc" / "qemu.conf"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        text = QEMU_CONF + LAUNCHED if os.geteuid() == 0 else _QEMU_CONF
        configuration.write_text(text, encoding="utf-8")
        return cls(f"qemu:///embed?root={root}", root)

    def versions(self) -> dict[str, str]:
        """Versions that a saved RAM state depends on.

        Raises:
            MachineError: libvirt does not find QEMU.
        """
        with translated("Asking libvirt for QEMU's version", "Install QEMU 10 or newer: qemu-system-x86."):
            found = {"libvirt": dotted(self.api.getLibVersion()), "qemu": dotted(self.api.getVersion())}
        # A saved state holds the domain's name, whose form differs on a daemon. Hosts with the same CPU
        # restore each other's states; if QEMU refuses one all the same, `ready.launch` makes a new state.
        more = {"daemon": "yes", "cpu": daemon.host_cpu(self._capabilities())} if self.shared else {}
        return {**found, **more}

    def close(self) -> None:
        """Closes the connection; domains keep running. Never raises."""
        try:
            self._api.close()
        except libvirt.libvirtError:
            return

    def _capabilities(self) -> str:
        with translated(f"Asking {self.uri} for its capabilities"):
            return str(self.api.getCapabilities())

    def _open(self) -> Any:
        try:
            if not self.shared:
                return libvirt.open(self.uri)
            deadline, address = Deadline.after(self._seconds), unasked(self.uri)
            api = within(deadline, f"Opening {self.uri}", lambda: libvirt.open(address), lambda: None)
            if self.remote:
                api.setKeepAlive(*KEEPALIVE)
        except libvirt.libvirtError as error:
            remedy = "Install libvirt-daemon-driver-qemu; `winvm host install` does."
            if self.shared:
                remedy = f"Start its daemon. {TRY_IT}" if self.remote else "Start its daemon."
            raise HostError(f"libvirt cannot open {self.uri}: {_words(error)}.", remedy=remedy) from error
        return api

    def _reopen(self) -> Any:
        failure: HostError | None = None
        for _ in Deadline.after(REOPEN_SECONDS).tries(every=0.2):
            try:
                return self._open()
            except HostError as error:
                failure = error
        assert failure is not None
        raise failure


def _words(error: Any) -> str:
    """libvirt's message on one line: the end of QEMU's log, which it may hold, has several."""
    return " ".join(str(error.get_error_message() or error).split()).rstrip(". ")


def dotted(number: int) -> str:
    """libvirt's `major * 1000000 + minor * 1000 + release` as text."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
