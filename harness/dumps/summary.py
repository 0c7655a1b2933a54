"""Content of a dump as plain frozen data, and its JSON form. Addresses, sizes and codes are integers."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Protocol

from harness.dumps.facts import NOTHING, KernelFacts, facts_document
from harness.dumps.pdb import PdbIdentity
from harness.dumps.record import record


class VirtualMemory(Protocol):
    """The crashed machine's memory by virtual address."""

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes from `address` on; fewer where the dump holds no more. Never raises."""


class NoMemory:
    """The memory of a dump that holds none."""

    def read(self, address: int, size: int) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""


@record
class Module:
    """A driver or library: `end` is exclusive. `timestamp` is the PE header's, usually a build hash.

    pdb: the PDB identity from the image; in a kernel dump only read for the modules on the stack.
    """

    name: str
    path: str
    base: int
    size: int
    timestamp: int = 0
    checksum: int = 0
    pdb: PdbIdentity | None = None

    @property
    def end(self) -> int:
        """The first address after the module."""
        return self.base + self.size


@record
class Frame:
    """One source position; an address has several where functions are inlined, innermost first.

    shared: another source of the module has a function of this name.
    """

    function: str
    file: str = ""
    line: int = 0
    shared: bool = False


@record
class Place:
    """An address, with its module if there is one; `module` is `<Unloaded name>` for an unloaded module."""

    address: int
    module: str | None = None
    offset: int | None = None
    frames: tuple[Frame, ...] = ()

    @property
    def symbol(self) -> str | None:
        """`function (file:line)` of the innermost frame, None when not symbolised."""
        if not self.frames:
            return None
        frame = self.frames[0]
        return f"{frame.function} ({frame.file}:{frame.line})" if frame.file else frame.function


@record
class StackWord:
    """A word on the stack that points into a module.

    called: whether the bytes before it are a call instruction in executable code, so that it may be a return
    address; None when the dump does not hold those bytes.
    """

    location: int
    place: Place
    called: bool | None


class Found(enum.StrEnum):
    """How a frame was found. `SCAN` is a guess; every other way derives the frame from the one before it.

    What is derived from a guess is one, too: `StackFrame.exact`.
    """

    REGISTERS = "registers"  # the first frame
    UNWOUND = "unwound"  # by the image's unwind data
    LEAF = "leaf"  # the return address on top of the stack, or in the link register, of a leaf function
    MACHINE_FRAME = "machine frame"  # what an interrupt or exception pushed
    CODE = "code"  # by following the function's instructions to its return
    FRAME_POINTER = "frame pointer"  # by the chain of frame records
    SCAN = "scan"  # a stack word that follows a call instruction; that call may have returned


@record
class StackFrame:
    """A frame of the call stack. `sp` is the stack pointer in it.

    location: stack address that held the frame's address; 0 if it was not on the stack.
    behind_scan: a scan found a frame before it, from which it was derived: a guess, too.
    """

    place: Place
    sp: int
    location: int
    found: Found
    behind_scan: bool = False

    @property
    def exact(self) -> bool:
        """Whether this certainly is a frame: no scan found it or one before it."""
        return self.found is not Found.SCAN and not self.behind_scan

    @property
    def returned(self) -> bool:
        """Whether the address follows a call; it may belong to another source line than the call."""
        return self.found not in (Found.REGISTERS, Found.MACHINE_FRAME)


@record
class ProcessorStack:
    """State of a processor when the crash froze it."""

    number: int
    registers: dict[str, int]
    stack: tuple[StackFrame, ...]


@record
class ThreadStack:
    """State of a thread when the dump was written: of a user dump, or of a kernel one that does not run.

    thread_id: its number; of a kernel's thread its address.
    name: of the process that a kernel's thread belongs to, where that is known.
    """

    thread_id: int
    registers: dict[str, int]
    stack: tuple[StackFrame, ...]
    name: str = ""


@record
class ExceptionRecord:
    """EXCEPTION_RECORD64: `address` of the instruction, `parameters` by code."""

    code: int
    flags: int
    address: int
    parameters: tuple[int, ...]


@record
class BugcheckReport:
    """Code, name and parameters, and what they mean in one paragraph."""

    code: int
    name: str
    parameters: tuple[int, ...]
    explanation: str


@record
class Summary:
    """Everything that is read from a dump. A user dump has no `bugcheck`.

    fault_source: source of the fault's address.
    stack: of the thread that crashed, innermost frame first.
    words: words on its stack that point into a module, return addresses or not.
    processors: of a kernel dump that holds their states.
    threads: of a user dump, the one that crashed too; of a kernel, those that wait, where they matter.
    facts: what the kernel's own structures tell.
    returned_to: where a function returned to, if its return address had been overwritten; else 0.
    """

    type: str
    arch: str
    system: dict[str, Any]
    bugcheck: BugcheckReport | None
    exception: ExceptionRecord | None
    registers: dict[str, int]
    fault: Place | None
    fault_source: str
    modules: tuple[Module, ...]
    unloaded: tuple[Module, ...]
    stack: tuple[StackFrame, ...]
    truncated: bool
    warnings: tuple[str, ...]
    words: tuple[StackWord, ...] = ()
    processors: tuple[ProcessorStack, ...] = ()
    threads: tuple[ThreadStack, ...] = ()
    facts: KernelFacts = NOTHING
    returned_to: int = 0

    @property
    def guessed(self) -> bool:
        """Whether only a scan of the stack leads to the fault: its call may have returned long before."""
        fault = self.fault
        if fault is None or self.fault_source != "stack":
            return False
        found = [frame.exact for frame in self.stack if frame.place.address == fault.address]
        return bool(found) and not any(found)

    def stacks(self) -> Iterator[tuple[StackFrame, ...]]:
        """Every stack, that of the crashed thread first."""
        yield self.stack
        yield from (processor.stack for processor in self.processors)
        yield from (thread.stack for thread in self.threads)


def _frame_document(frame: Frame) -> dict[str, Any]:
    shared = {"shared": True} if frame.shared else {}
    return {"function": frame.function, "file": frame.file, "line": frame.line, **shared}


def place_document(place: Place) -> dict[str, Any]:
    """A place as JSON-ready data."""
    return {
        "address": place.address,
        "module": place.module,
        "offset": place.offset,
        "symbol": place.symbol,
        "frames": [_frame_document(frame) for frame in place.frames],
    }


def module_document(module: Module) -> dict[str, Any]:
    """A module as JSON-ready data; its PDB as `name/key` of a symbol store."""
    pdb = f"{module.pdb.name}/{module.pdb.key}" if module.pdb else None
    return {**vars(module), "pdb": pdb}


def frame_document(frame: StackFrame) -> dict[str, Any]:
    """A frame as JSON-ready data."""
    return {
        **place_document(frame.place),
        "found": frame.found.value,
        **({} if frame.exact else {"guessed": True}),
        "sp": frame.sp,
        "location": frame.location,
    }


def summary_document(summary: Summary) -> dict[str, Any]:
    """A summary as JSON-ready data: the output of `winvm dump --json`."""
    fault = place_document(summary.fault) if summary.fault else None
    guess = {"guessed": True} if summary.guessed else {}
    return {
        "type": summary.type,
        "arch": summary.arch,
        "system": summary.system,
        "bugcheck": dict(vars(summary.bugcheck)) if summary.bugcheck else None,
        "exception": dict(vars(summary.exception)) if summary.exception else None,
        "registers": summary.registers,
        "fault": {**fault, "source": summary.fault_source, **guess} if fault else None,
        "modules": [module_document(module) for module in summary.modules],
        "unloaded": [module_document(module) for module in summary.unloaded],
        "stack": [frame_document(frame) for frame in summary.stack],
        "words": [
            {**place_document(word.place), "location": word.location, "called": word.called}
            for word in summary.words
        ],
        "processors": [
            {
                "number": processor.number,
                "registers": processor.registers,
                "stack": [frame_document(frame) for frame in processor.stack],
            }
            for processor in summary.processors
        ],
        "threads": [
            {
                "thread_id": thread.thread_id,
                **({"name": thread.name} if thread.name else {}),
                "registers": thread.registers,
                "stack": [frame_document(frame) for frame in thread.stack],
            }
            for thread in summary.threads
        ],
        **({"kernel": facts_document(summary.facts)} if summary.bugcheck else {}),
        **({"returned_to": summary.returned_to} if summary.returned_to else {}),
        "truncated": summary.truncated,
        "warnings": list(summary.warnings),
    }
