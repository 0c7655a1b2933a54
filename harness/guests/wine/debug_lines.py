"""Classifies the lines that Wine writes to stderr: DbgPrint output, reports of a crash, and others.

Formats as Wine 10.0 prints them (recorded natively in tests/golden/wine-debug/) with
`WINEDEBUG=fixme-all,err+all,+debugstr,+pid,winedevice.exe:+loaddll,winedevice.exe:warn+seh`.
Without `+pid` a prefix holds the thread alone. Wine ends each DbgPrint with a newline; the lines inside one
DbgPrint carry no prefix. The guest's relay (vm/wine/rootfs/etc/winvm/relay) puts `CONTINUED` in front of each
of them, so that none is taken for a line of Wine's own, whatever its text.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from harness.outcome import KernelCrash

_PREFIX = re.compile(
    r"(?:(?P<pid>[0-9a-f]{4,8}):)?(?P<tid>[0-9a-f]{4,8}):(?P<level>err|warn|fixme|trace):"
    r"(?P<channel>\w+):(?P<function>\S+) (?P<text>.*)",
    re.DOTALL,
)
_DBGPRINT = re.compile(r"[0-9a-f]{8}:[0-9a-f]{8}: ?(?P<text>.*)", re.DOTALL)
_LOADED = re.compile(r'Loaded L"(?P<path>.+)" at (?P<base>[0-9A-F]{8,16}): native')
_RAISED = re.compile(r"\(code=(?P<code>[0-9a-f]{1,8})\) raised")
_UNHANDLED = re.compile(
    r"wine: (?P<what>.+?) at address (?:0x)?(?P<address>[0-9A-Fa-f]+) \(thread (?P<tid>[0-9a-f]+)\)"
)
_UNHANDLED_ON_BAD_STACK = re.compile(
    r"Unhandled exception code (?P<code>[0-9a-f]{1,8}) flags \w+ addr (?:0x)?(?P<address>[0-9A-Fa-f]+)"
)
"""Messages with which ntdll ends a process: after a fast-fail, or an exception outside the thread's stack."""
_PAGE_FAULT = re.compile(r"page fault on (?P<access>\w+) access to (?:0x)?(?P<target>[0-9A-Fa-f]+)")
_KERNEL_STUB = re.compile(r"Unimplemented function (?:ntoskrnl\.exe|hal\.dll)\.")  # raised without a seh line
_CODE = re.compile(r"exception 0x(?P<code>[0-9a-f]{1,8})")
_STACK_OVERFLOW = re.compile(
    r"stack overflow \d+ bytes (?:in thread \w+ )?(?:eip|addr) (?:0x)?(?P<address>[0-9A-Fa-f]+)\b"
)
_BUGCHECK = re.compile(r"[0-9A-Fa-f]{1,8}(?: [0-9A-Fa-f]{1,16}){4}")
"""A code of 32 bits and four parameters of 64 bits, as KeBugCheckEx declares them."""

_ACCESS = {"read": 0, "write": 1, "execute": 8}  # ExceptionInformation[0] of an access violation
_STATUS_ACCESS_VIOLATION = 0xC0000005
_STATUS_STACK_OVERFLOW = 0xC00000FD
_STATUS_OF_TEXT = {
    "Unhandled division by zero": 0xC0000094,
    "Unhandled overflow": 0xC0000095,
    "Unhandled array bounds": 0xC000008C,
    "Unhandled illegal instruction": 0xC000001D,
    "Unhandled privileged instruction": 0xC0000096,
    "Unhandled stack overflow": _STATUS_STACK_OVERFLOW,
    "Unhandled alignment": 0x80000002,
    "Unimplemented function": 0x80000100,  # EXCEPTION_WINE_STUB
    "Assertion failed": 0x80000101,  # EXCEPTION_WINE_ASSERTION
}
CONTINUED = b"\x1e"
"""First byte of a line that continues the message before it."""
_CONTINUED = CONTINUED.decode()
USER = "user"
"""Source of a DbgPrint of another process than the driver's."""
_REMEMBERED = 4096
"""Most threads and processes kept: a guest that invents ids must not fill the host's memory."""


T = TypeVar("T")


@dataclass(frozen=True)
class LoadedDriver:
    """A driver image in the guest: Windows path, base address, and the process that holds it."""

    path: str
    base: int
    pid: str


@dataclass(frozen=True)
class Line:
    """One line of debug output.

    `source` is `dbgprint` for the driver's process, `user` for a DbgPrint of another process, else
    `outputdebugstring` or `wine`.
    """

    source: str
    text: str
    crash: KernelCrash | None = None


class WineLines:
    """Parses lines in the order in which they came.

    Attributes:
        loaded_again: whether a driver image that was loaded before the first crash was loaded again after it.

    A crash is blamed on the driver when its thread belongs to the process that loaded a driver image. Only
    winedevice reports the images it loads and the exceptions raised in it; a Python or test program that
    crashes in the guest therefore never looks like a driver crash. Without those reports any crash counts,
    except that of a process that printed one of the agent's markers.
    """

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._source = "wine"
        self._drivers: OrderedDict[str, LoadedDriver] = OrderedDict()
        self._process_of: OrderedDict[str, str] = OrderedDict()
        self._raised: OrderedDict[str, int] = OrderedDict()
        self._agent_threads: OrderedDict[str, None] = OrderedDict()
        self._loaded_at_crash: frozenset[str] | None = None
        self.loaded_again = False

    @property
    def drivers(self) -> tuple[LoadedDriver, ...]:
        """Driver images loaded so far, oldest first; a path loaded again stands last, with its new base."""
        return tuple(self._drivers.copy().values())

    def dismiss(self) -> None:
        """The crashes so far were none: the next one is the first."""
        self._loaded_at_crash, self.loaded_again = None, False

    def forget(self) -> None:
        """Forgets threads, images and crashes: the guest was reverted."""
        self.dismiss()
        self._drivers.clear()
        self._process_of.clear()
        self._raised.clear()
        self._agent_threads.clear()
        self._source = "wine"

    def parse(self, line: str, time: float) -> Line:
        """One line without its newline, which arrived at host UNIX time `time`."""
        parsed = self._parse(line, time)
        if parsed.crash is not None and self._loaded_at_crash is None:
            self._loaded_at_crash = frozenset(path.lower() for path in self._drivers)
        return parsed

    def _parse(self, line: str, time: float) -> Line:
        if line.startswith(_CONTINUED):
            return Line(self._source, line.removeprefix(_CONTINUED))
        prefix = _PREFIX.match(line)
        if prefix is None:
            return self._unprefixed(line, time)
        channel, function, text = prefix["channel"], prefix["function"], prefix["text"]
        tid, pid = prefix["tid"], prefix["pid"] or ""
        self._source = "wine"
        crash = None
        if pid:
            _remember(self._process_of, tid, pid)
        if channel == "debugstr" and function == "vDbgPrintExWithPrefix":
            printed = _DBGPRINT.match(text)
            if text.find(self._marker, 0, 80) >= 0:
                _remember(self._agent_threads, tid, None)
            self._source = "dbgprint" if self._prints_for_driver(pid) else USER
            return Line(self._source, printed["text"] if printed else text)
        if channel == "debugstr" and function.startswith("OutputDebugString"):
            self._source = "outputdebugstring"
            return Line("outputdebugstring", text)
        if channel == "loaddll":
            self._loaded(text, pid)
        elif channel == "seh" and (raised := _RAISED.search(text)):
            _remember(self._raised, tid, int(raised["code"], 16))
        elif channel == "seh" and (ended := _UNHANDLED_ON_BAD_STACK.match(text)):
            crash = self._ended(ended, tid, line, time)
        elif channel == "ntoskrnl" and function == "KeBugCheckEx":
            crash = _bugcheck(text, line, time) if self._is_driver(tid) else None
        elif channel == "virtual" and (overflow := _STACK_OVERFLOW.search(text)):
            crash = self._stack_overflow(overflow["address"], tid, line, time)
        return Line("wine", line, crash)

    def _unprefixed(self, line: str, time: float) -> Line:
        if not line.startswith("wine: "):
            return Line(self._source, line)
        unhandled = _UNHANDLED.match(line)
        if unhandled is None:
            return Line("wine", line)
        return Line("wine", line, self._exception(unhandled, line, time))

    def _exception(self, unhandled: re.Match[str], line: str, time: float) -> KernelCrash | None:
        tid = unhandled["tid"].zfill(4)
        code = self._raised.pop(tid, 0)
        if not self._is_driver(tid) and not _KERNEL_STUB.match(unhandled["what"]):
            return None
        target = access = 0
        if fault := _PAGE_FAULT.search(unhandled["what"]):
            code = code or _STATUS_ACCESS_VIOLATION
            target, access = _hex(fault["target"]), _ACCESS.get(fault["access"], 0)
        elif stated := _CODE.search(unhandled["what"]):
            code = int(stated["code"], 16)
        elif not code:
            known = (status for text, status in _STATUS_OF_TEXT.items() if unhandled["what"].startswith(text))
            code = next(known, 0)
        return self._crash(code, (code, _hex(unhandled["address"]), target, access), line, time)

    def _ended(self, ended: re.Match[str], tid: str, line: str, time: float) -> KernelCrash | None:
        self._raised.pop(tid, None)
        if not self._is_driver(tid):
            return None
        code = int(ended["code"], 16)
        # The address that was accessed is not in this message.
        return self._crash(code, (code, _hex(ended["address"])), line, time)

    def _stack_overflow(self, address: str, tid: str, line: str, time: float) -> KernelCrash | None:
        if not self._is_driver(tid):
            return None
        code = _STATUS_STACK_OVERFLOW
        return self._crash(code, (code, _hex(address), 0, 0), line, time)

    def _crash(self, code: int, parameters: tuple[int, ...], line: str, time: float) -> KernelCrash:
        return KernelCrash("exception", code, parameters, time=time, text=line, notes=self.images())

    def images(self) -> tuple[str, ...]:
        """The driver images loaded so far with their base addresses, as in a crash's notes."""
        return tuple(f"{driver.path} at {driver.base:#x}" for driver in self._drivers.values())[-8:]

    def _prints_for_driver(self, pid: str) -> bool:
        """Whether a process is a driver's; any may be one as long as no driver image was seen."""
        return not pid or not self._drivers or any(driver.pid == pid for driver in self._drivers.values())

    def _is_driver(self, tid: str) -> bool:
        if self._drivers:
            pid = self._process_of.get(tid, "")
            return any(driver.pid == pid for driver in self._drivers.values())
        return tid not in self._agent_threads

    def _loaded(self, text: str, pid: str) -> None:
        loaded = _LOADED.match(text)
        if loaded is not None and loaded["path"].lower().endswith(".sys"):
            path = loaded["path"].replace("\\\\", "\\")
            if path.lower() in (self._loaded_at_crash or ()):
                self.loaded_again = True
            _remember(self._drivers, path, LoadedDriver(path, int(loaded["base"], 16), pid))


def _bugcheck(text: str, line: str, time: float) -> KernelCrash | None:
    """`KeBugCheckEx code p1 p2 p3 p4`, all hexadecimal."""
    if not _BUGCHECK.fullmatch(text):
        return None
    code, *parameters = (int(number, 16) for number in text.split(" "))
    return KernelCrash("bugcheck", code, tuple(parameters), time=time, text=line)


def _hex(digits: str) -> int:
    return int(digits[:16], 16)


def _remember(memory: OrderedDict[str, T], key: str, value: T) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
