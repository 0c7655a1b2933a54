"""What a dump says, as plain frozen data, and its JSON form. Addresses, sizes and codes are integers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol


class VirtualMemory(Protocol):
    """The crashed machine's memory by virtual address."""

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes from `address` on; ends where the dump holds no more. Never raises."""


class NoMemory:
    """The memory of a dump that holds none."""

    def read(self, address: int, size: int) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""


@dataclass(frozen=True)
class Module:
    """A driver or library: `end` is exclusive. `timestamp` is the PE header's, usually a build hash."""

    name: str
    path: str
    base: int
    size: int
    timestamp: int = 0
    checksum: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.base + self.size


@dataclass(frozen=True)
class Frame:
    """One source position; an address has several where functions are inlined, innermost first.

    shared: another source of the module has a function of this name.
    """

    function: str
    file: str = ""
    line: int = 0
    shared: bool = False


@dataclass(frozen=True)
class Place:
    """An address, in a module when one holds it; `module` of an unloaded one reads `<Unloaded name>`."""

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


@dataclass(frozen=True)
class StackWord:
    """A word on the stack that points into a module.

    called: whether the bytes before it are a call instruction in executable code, so that it may be a return
    address; None when the dump does not hold those bytes.
    """

    location: int
    place: Place
    called: bool | None


@dataclass(frozen=True)
class ExceptionRecord:
    """EXCEPTION_RECORD64: `address` of the instruction, `parameters` by code."""

    code: int
    flags: int
    address: int
    parameters: tuple[int, ...]


@dataclass(frozen=True)
class BugcheckReport:
    """Code, name and parameters, and what they mean in one paragraph."""

    code: int
    name: str
    parameters: tuple[int, ...]
    explanation: str


@dataclass(frozen=True)
class Summary:
    """Everything that a dump was asked. `fault_source` says what named the fault's address."""

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
    stack: tuple[StackWord, ...]
    truncated: bool
    warnings: tuple[str, ...]

    def likely_returns(self) -> list[StackWord]:
        """Stack words that may be return addresses, each address once."""
        seen: dict[int, StackWord] = {}
        for word in self.stack:
            if word.called is not False and word.place.offset:
                seen.setdefault(word.place.address, word)
        return list(seen.values())


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


def summary_document(summary: Summary) -> dict[str, Any]:
    """A summary as JSON-ready data: the output of `winvm dump --json`."""
    fault = place_document(summary.fault) if summary.fault else None
    return {
        "type": summary.type,
        "arch": summary.arch,
        "system": summary.system,
        "bugcheck": dataclasses.asdict(summary.bugcheck) if summary.bugcheck else None,
        "exception": dataclasses.asdict(summary.exception) if summary.exception else None,
        "registers": summary.registers,
        "fault": {**fault, "source": summary.fault_source} if fault else None,
        "modules": [dataclasses.asdict(module) for module in summary.modules],
        "unloaded": [dataclasses.asdict(module) for module in summary.unloaded],
        "stack": [
            {**place_document(word.place), "location": word.location, "called": word.called}
            for word in summary.stack
        ],
        "truncated": summary.truncated,
        "warnings": list(summary.warnings),
    }
