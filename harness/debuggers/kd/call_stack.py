"""Unwinds call stacks of a halted kernel over the debugger line, which is slow: reads are few and cached."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.debuggers.kd.halted import HaltedTarget, Module
from harness.debuggers.kd.link import TargetRestartedError
from harness.debuggers.kd.manipulate import PAGE
from harness.dumps import cpu
from harness.dumps.attribution import AddressMap, Files, no_files
from harness.dumps.formats.assembly import Body, assemble, with_pdbs
from harness.dumps.formats.loaded import pe_timestamp
from harness.dumps.kernel.examine import Pdbs
from harness.dumps.names import base_name
from harness.dumps.summary import BugcheckReport, ExceptionRecord, Place, StackFrame, Summary, VirtualMemory
from harness.dumps.summary import Module as Image
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.unwind.walk import StackWalk
from harness.errors import KdError

MAX_FRAMES = 64
MAX_SCANS = 4
SECONDS = 4.0
"""Time limit in seconds for all stacks of one halt: the guest is halted for no longer."""
_LINE = 128
_MOST = 2048
"""Bytes of a read of more than a page: a scan asks for the whole stack, seconds on a serial line."""


class TargetMemory:
    """Memory of a halted target as `harness.dumps.summary.VirtualMemory`; what was read is kept.

    A read returns fewer bytes where the target has no more, stops answering, or the time is over.
    """

    def __init__(self, target: HaltedTarget, seconds: float = SECONDS) -> None:
        self._target = target
        self._until = time.monotonic() + seconds
        self.out_of_time = False
        self._spent = self._fetched = 0.0
        self._lines: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes, of more than a page at most 2,048.

        Raises:
            TargetRestartedError: the target is not there any more.
        """
        size = min(size, _MOST) if size > PAGE else size
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

    def keep(self, address: int, data: bytes) -> None:
        """Memory that was read already."""
        for line in range(-(-address // _LINE), (address + len(data)) // _LINE):
            at = line * _LINE - address
            self._lines[line] = data[at : at + _LINE]

    def expired(self) -> bool:
        """Whether the time is over; the question counts as a read that was not done."""
        self.out_of_time |= time.monotonic() >= self._until
        return self.out_of_time

    def _fetch(self, first: int, last: int) -> None:
        data = b""
        started, size = time.monotonic(), (last - first + 1) * _LINE
        # A large read of a slow line would end long after the time is over.
        expected = self._spent / self._fetched * size if self._fetched else 0.0
        if started + (expected if size > _LINE else 0.0) >= self._until:
            self.out_of_time = True
        else:
            try:
                data = self._target.read(first * _LINE, size)
            except TargetRestartedError:
                raise
            except KdError:
                self._until = 0.0
            self._spent += time.monotonic() - started
            self._fetched += len(data)
        for line in range(first, last + 1):
            at = (line - first) * _LINE
            self._lines[line] = data[at : at + _LINE]


class CallStacks:
    """Walks stacks of one halted x64 kernel. `memory` is the kernel's, `images` are its modules.

    Args:
        stack: address and content of memory that was read already.
        symbols: finds the files of modules; reading one is faster than reading the target, and no page is
            missing.
    """

    def __init__(
        self,
        target: HaltedTarget,
        modules: Sequence[Module],
        symbols: SymbolPath | None = None,
        stack: tuple[int, bytes] = (0, b""),
        seconds: float = SECONDS,
    ) -> None:
        self.memory = TargetMemory(target, seconds)
        self.memory.keep(*stack)
        self._symbols = symbols
        self._walk: StackWalk | None = None
        self.images = [
            Image(base_name(module.path), module.path, module.base, module.size) for module in modules
        ]

    @property
    def out_of_time(self) -> bool:
        """Whether something was not read because the time was over."""
        return self.memory.out_of_time

    def of(self, registers: Mapping[str, int]) -> list[StackFrame]:
        """The frames, innermost first, at most 64.

        Raises:
            TargetRestartedError: the target is not there any more.
        """
        return self.walk().walk(registers, max_frames=MAX_FRAMES, max_scans=MAX_SCANS)

    def walk(self) -> StackWalk:
        """Walks stacks; what it reads of images is kept."""
        if self._walk is None:
            self._addresses = AddressMap(self.images, [], self.memory, cpu.X64, self.files, slow=True)
            self._walk = StackWalk(self._addresses, self.memory, cpu.X64)
        return self._walk

    def identified(
        self, modules: Sequence[Image], stacks: Iterable[Sequence[StackFrame]]
    ) -> tuple[Image, ...]:
        """The modules, with the PDB identity of those on the stacks, which only symbols need."""
        if self._symbols is None:
            return tuple(modules)
        self.walk()
        places = (frame.place for stack in stacks for frame in stack)
        return tuple(with_pdbs(modules, self._addresses, places))

    @property
    def files(self) -> Files:
        """Finds the files of images."""
        return self._file if self._symbols else no_files

    @property
    def pdbs(self) -> Pdbs | None:
        """Finds PDBs; None without symbols."""
        return self._symbols.pdb if self._symbols else None

    def report(
        self,
        registers: dict[str, int],
        report: BugcheckReport | None,
        exception: ExceptionRecord | None,
        candidates: tuple[tuple[int | None, str], ...],
        system: dict[str, Any],
    ) -> Summary:
        """The summary of the halted kernel, as of a dump; see `harness.dumps.formats.assembly.assemble`."""
        return assemble(
            kind="live kernel",
            arch=cpu.ARCHITECTURES[cpu.X64],
            machine=cpu.X64,
            files=self.files,
            system=system,
            report=report,
            exception=exception,
            registers=registers,
            candidates=candidates,
            body=Body(self.memory, self.images, [], {}),
            driver="",
            truncated=False,
            warnings=[],
            slow=True,
            max_frames=MAX_FRAMES,
            max_scans=MAX_SCANS,
        )

    def _file(self, module: Image) -> VirtualMemory | None:
        """The module's file; the list of modules that was read here holds no time stamps."""
        if self._symbols is None:
            return None
        stamp = pe_timestamp(self.memory, module.base)
        return self._symbols.file(dataclasses.replace(module, timestamp=stamp)) if stamp else None


def frame_fields(frames: Sequence[StackFrame]) -> list[dict[str, object]]:
    """Frames as fields of an event: `at` (module and offset), address, how it was found, symbol if any."""
    return [
        {
            "at": place_text(frame.place),
            "address": frame.place.address,
            "found": frame.found.value,
            **({} if frame.exact else {"guessed": True}),
            **({"symbol": frame.place.symbol} if frame.place.symbol else {}),
        }
        for frame in frames
    ]


def place_text(place: Place) -> str:
    """Module and offset, or the bare address."""
    return f"{place.module}+{place.offset or 0:#x}" if place.module else f"{place.address:#x}"
