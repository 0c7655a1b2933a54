"""Unwinds call stacks of a halted kernel over the debugger line, which is slow: reads are few and cached."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import TargetRestartedError
from harness.dumps import cpu
from harness.dumps.attribution import AddressMap, Files, blamed, no_files
from harness.dumps.names import base_name
from harness.dumps.summary import Module as Image
from harness.dumps.summary import Place, StackFrame
from harness.dumps.unwind.walk import StackWalk
from harness.errors import KdError

MAX_FRAMES = 64
MAX_SCANS = 4
SECONDS = 4.0
"""Time limit in seconds for all stacks of one halt: the guest is halted for no longer."""
_LINE = 128
_MOST = 2048
"""Bytes of one read. A scan asks for the whole stack, which would take seconds on a serial line."""


class TargetMemory:
    """Memory of a halted target as `harness.dumps.summary.VirtualMemory`; what was read is kept.

    A read returns fewer bytes where the target has no more, stops answering, or the time is over.
    """

    def __init__(self, target: HaltedTarget, seconds: float = SECONDS) -> None:
        self._target = target
        self._until = time.monotonic() + seconds
        self._lines: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes, at most 2,048.

        Raises:
            TargetRestartedError: the target is not there any more.
        """
        size = min(size, _MOST)
        first, last = address // _LINE, (address + size - 1) // _LINE
        missing = [line for line in range(first, last + 1) if line not in self._lines]
        if missing:
            self._fetch(missing[0], missing[-1])
        data = b""
        for line in range(first, last + 1):
            piece = self._lines.get(line, b"")
            data += piece
            if len(piece) < _LINE:
                break
        return data[address - first * _LINE :][:size]

    def _fetch(self, first: int, last: int) -> None:
        data = b""
        if time.monotonic() < self._until:
            try:
                data = self._target.read(first * _LINE, (last - first + 1) * _LINE)
            except TargetRestartedError:
                raise
            except KdError:
                self._until = 0.0
        for line in range(first, last + 1):
            at = (line - first) * _LINE
            self._lines[line] = data[at : at + _LINE]


class CallStacks:
    """Walks stacks of one halted x64 kernel.

    Args:
        files: finds the file of a module; reading it is faster than reading the target, and no page is
            missing.
    """

    def __init__(self, target: HaltedTarget, modules: Sequence[Module], files: Files = no_files) -> None:
        memory = TargetMemory(target)
        images = [Image(base_name(module.path), module.path, module.base, module.size) for module in modules]
        self._addresses = AddressMap(images, [], memory, cpu.X64, files)
        self._walk = StackWalk(self._addresses, memory, cpu.X64)

    def place(self, address: int) -> Place:
        """The address as module and offset."""
        return self._addresses.place(address)

    def of(self, registers: Mapping[str, int]) -> list[StackFrame]:
        """The frames, innermost first, at most 64.

        Raises:
            TargetRestartedError: the target is not there any more.
        """
        return self._walk.walk(registers, max_frames=MAX_FRAMES, max_scans=MAX_SCANS)


def culprit(fault: Place | None, frames: Sequence[StackFrame]) -> Place | None:
    """The place to blame, as for a dump: the fault's, else the first frame outside the system's core."""
    return blamed(fault, frames)[0]


def frame_fields(frames: Sequence[StackFrame]) -> list[dict[str, object]]:
    """Frames as fields of an event: `at` (module and offset), the address, and how the frame was found."""
    return [
        {"at": place_text(frame.place), "address": frame.place.address, "found": frame.found.value}
        for frame in frames
    ]


def place_text(place: Place) -> str:
    """Module and offset, or the bare address."""
    return f"{place.module}+{place.offset or 0:#x}" if place.module else f"{place.address:#x}"
