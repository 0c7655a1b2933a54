"""Checks the host by using each tool, not just by finding it. Returns data that the command line prints."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.host import confined, llvm
from harness.host.ports import choose_ports
from harness.host.programs import Run
from harness.machine.accelerator import OLDEST_TCG, QEMU, Accelerator, choose_accelerator, run_program
from harness.machine.domain import ADDRESS

INSTALL = "Run `winvm host install`, or install {package}."
IMAGE_SPACE = 6 * 2**30
"""Bytes: an image while it is built (4 GiB), its ready state, and the overlay of one run."""
TEMPORARY_SPACE = 256 * 2**20
PROBE_SECONDS = 30.0
OLDEST_LIBVIRT = (11, 2)
MINGW = Path("/usr/x86_64-w64-mingw32")
HEADERS = ("include/windows.h", "include/ddk/wdm.h", "lib/libntoskrnl.a")


@dataclass(frozen=True)
class Check:
    """One requirement of the bench and what this host has for it.

    found: path or name of what was found, empty when nothing was. note: the reason, as text.
    remedy: empty when it works.
    """

    need: str
    found: str
    version: str
    works: bool
    remedy: str = ""
    note: str = ""


@dataclass(frozen=True)
class Tool:
    """A program that must run and print its version; `oldest` is the lowest version that is sufficient."""

    need: str
    names: tuple[str, ...]
    package: str
    oldest: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ("--version",)


TOOLS = (
    Tool("make", ("make",), "make"),
    Tool("C compiler", ("clang-19",), "clang-19", (19, 1)),
    Tool("linker", ("lld-link-19",), "lld-19", (19, 1)),
    Tool("symbolizer", ("llvm-symbolizer-19",), "llvm-19", (19, 1)),
    Tool("Authenticode", ("osslsigncode",), "osslsigncode", (2, 0)),
    Tool("image builder", ("mmdebstrap",), "mmdebstrap"),
    Tool("file system maker", ("mkfs.ext4",), "e2fsprogs", arguments=("-V",)),
    Tool("disk images", ("qemu-img",), "qemu-utils"),
)


IMAGE_ONLY = frozenset({"image builder", "file system maker"})
"""Needs of an image's build alone: runs do without them, as they do without root."""


def able(broken: Iterable[str], user: int) -> dict[str, tuple[str, ...]]:
    """What this host can do -> the needs that it lacks for it; `root` is one of a build's.

    Args:
        broken: the needs that are not met.
        user: the effective user id.
    """
    lacking = tuple(broken)
    run = tuple(need for need in lacking if need not in IMAGE_ONLY)
    return {"run scenarios": run, "build the wine image": (*lacking, *(["root"] if user else []))}


@dataclass(frozen=True)
class Host:
    """What the checks examine; tests replace it with fakes."""

    home: Path
    run: Run = run_program
    which: Callable[[str], str | None] = shutil.which
    kvm: Path = Path("/dev/kvm")
    mingw: Path = MINGW
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    user: int = os.geteuid()
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    confinement: Callable[[], confined.Confinement] = confined.confinement
    open_libvirt: Callable[[Path], dict[str, str]] = lambda home: _libvirt_versions(home)


def diagnose(home: Path) -> Iterator[Check]:
    """Runs every check, in the order in which a reader would fix them; each takes at most a few seconds."""
    return checks(Host(home))


def checks(host: Host) -> Iterator[Check]:
    """The checks of `diagnose` for a given host."""
    yield _python(host)
    yield _user(host)
    yield _qemu(host)
    yield _accelerator(host)
    yield _libvirt(host)
    yield from (_tool(host, tool) for tool in TOOLS)
    yield _confinement(host)
    yield _headers(host)
    yield _space(host, "disk space", host.home, IMAGE_SPACE, "Free some, or set WINVM_HOME to a larger disk.")
    temporary = Path(tempfile.gettempdir())
    yield _space(host, "temporary files", temporary, TEMPORARY_SPACE, "Free some, or set TMPDIR.")
    yield _ports()


def _python(host: Host) -> Check:
    works = host.python >= (3, 11)
    remedy = "" if works else "Use Python 3.11 or newer."
    return Check("Python", sys.executable, ".".join(map(str, host.python)), works, remedy)


def _user(host: Host) -> Check:
    """Guests need no root; building the Wine guest's image does, once."""
    note = "" if host.user == 0 else "Building an image takes root, once: sudo make image."
    if host.kvm.exists() and not os.access(host.kvm, os.R_OK | os.W_OK):
        note = f"{note} This user may not use {host.kvm}: join the group kvm.".strip()
    return Check("user", f"uid {host.user}", "", works=True, note=note)


def _qemu(host: Host) -> Check:
    return _tool(host, Tool("QEMU", (QEMU,), "qemu-system-x86 from Debian's backports", OLDEST_TCG))


def _accelerator(host: Host) -> Check:
    deadline = Deadline.after(PROBE_SECONDS)
    try:
        probe = choose_accelerator(host.home / "accelerator.json", deadline, run=host.run, kvm=host.kvm)
    except (WinvmError, OSError) as error:
        return Check("accelerator", "", "", works=False, remedy=str(error))
    # Emulation works, but slowly: the check passes and shows the reason.
    slow = "" if probe.accelerator is Accelerator.KVM else ", which emulates the CPU: slower"
    return Check("accelerator", f"{probe.accelerator}{slow}", "", works=True, note=probe.reason)


def _libvirt(host: Host) -> Check:
    try:
        versions = host.open_libvirt(host.home)
    except (WinvmError, ImportError, OSError) as error:
        remedy = (
            str(error) if isinstance(error, WinvmError) else f"{error}. {INSTALL.format(package='libvirt')}"
        )
        return Check("libvirt", "", "", works=False, remedy=remedy)
    if tuple(int(part) for part in versions["libvirt"].split(".")) < OLDEST_LIBVIRT:
        remedy = "Version 11.2 or newer is needed: earlier ones cannot write sparse save files."
        return Check("libvirt", "qemu:///embed", versions["libvirt"], works=False, remedy=remedy)
    return Check("libvirt", "qemu:///embed", versions["libvirt"], works=True)


def _libvirt_versions(home: Path) -> dict[str, str]:
    from harness.machine.runfolder import RunFolder  # needs libvirt-python, which may be what is missing

    with RunFolder.create(home / "runs") as folder:
        return folder.connection.versions()


def _tool(host: Host, tool: Tool) -> Check:
    names = [candidate for name in tool.names for candidate in llvm.names(name)]
    path = next((found for name in names if (found := host.which(name))), None)
    if path is None:
        return Check(tool.need, "", "", works=False, remedy=INSTALL.format(package=tool.package))
    code, output = host.run([path, *tool.arguments], PROBE_SECONDS)
    match = re.search(r"\d+(?:\.\d+)+", output)
    version = match[0] if match else ""
    if code != 0:
        remedy = f"It ends with exit code {code}. Install {tool.package} again."
        return Check(tool.need, path, version, works=False, remedy=remedy)
    if tool.oldest and tuple(int(part) for part in version.split(".") if part) < tool.oldest:
        wanted = ".".join(map(str, tool.oldest))
        remedy = f"Version {wanted} or newer is needed. {INSTALL.format(package=tool.package)}"
        return Check(tool.need, path, version, works=False, remedy=remedy)
    return Check(tool.need, path, version, works=True)


def _confinement(host: Host) -> Check:
    """How parsers of foreign files are confined. A weaker way than bubblewrap works too, with a note."""
    kind = host.confinement()
    user = confined.USER if host.user == 0 else f"uid {host.user}"
    if kind is confined.Confinement.BUBBLEWRAP:
        return Check("confined parsers", f"{kind}, as {user}", "", works=True)
    note = "Parsers of PDBs, dumps and guests' disks can read what their user can. "
    note += INSTALL.format(package="bubblewrap") + " In a container it needs leave to make namespaces."
    return Check("confined parsers", f"{kind}, as {user}", "", works=True, note=note)


def _headers(host: Host) -> Check:
    missing = [name for name in HEADERS if not (host.mingw / name).is_file()]
    if missing:
        remedy = f"Missing: {', '.join(missing)}. {INSTALL.format(package='mingw-w64-x86-64-dev')}"
        return Check("Windows headers", "", "", works=False, remedy=remedy)
    return Check("Windows headers", str(host.mingw), "", works=True)


def _space(host: Host, need: str, folder: Path, needed: int, remedy: str) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = host.free(existing)
    writable = os.access(existing, os.W_OK)
    found = f"{folder}, {free / 2**30:.1f} GiB free" + ("" if writable else ", not writable")
    works = free >= needed and writable
    return Check(need, found, "", works, "" if works else f"{needed / 2**30:.1f} GiB are needed. {remedy}")


def _ports() -> Check:
    try:
        ports = choose_ports(("winrm", "ssh"), ADDRESS)
    except WinvmError as error:
        return Check("ports", "", "", works=False, remedy=str(error))
    return Check("ports", ", ".join(f"{ADDRESS}:{port}" for port in ports.values()), "", works=True)
