"""Names the driver's routine that took an IRP and has not completed it, for a guest that hangs.

The IRP is the witness: it lies in the guest's memory, on a device of the driver, and is not completed. Its
routine is what the driver object's MajorFunction table has for it; that a dispatch routine hands the work to
other functions is not seen here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.dumps.kernel.held_irps import HeldIrp
from harness.dumps.summary import Module, Place, place_document
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import routines

MAJOR = {"CreateFile": 0, "CloseHandle": 2, "ReadFile": 3, "WriteFile": 4, "DeviceIoControl": 14}
"""Major function of the IRP that each operation of the agent makes."""
NOT_RETURNED = "has not returned"
"""In the text of a hang that names the call; a journal's last operation may have returned."""
_OPERATION = re.compile(rf"\b({'|'.join(MAJOR)}) ")
_CODE = re.compile(r"\bcode=0x([0-9A-Fa-f]{1,8})\b")


@dataclass(frozen=True)
class Held:
    """IRPs that a driver holds; `source` says where they were read."""

    module: Module
    irps: tuple[HeldIrp, ...]
    source: str


@dataclass(frozen=True)
class NamedIrp:
    """An IRP and the routine that took it. `hangs`: the operation that does not return is such a request."""

    irp: HeldIrp
    routine: Place
    hangs: bool

    @property
    def request(self) -> str:
        """Such as `IRP_MJ_DEVICE_CONTROL 0x222004`."""
        code = f" {self.irp.code:#x}" if self.irp.code is not None else ""
        return f"{self.irp.function}{code}"


@dataclass(frozen=True)
class HeldIrps:
    """The IRPs that a hung guest's driver holds, those of the operation that hangs first.

    `source` says where they were read; empty if they were not. `operation`: the call that has not returned,
    such as `ReadFile`; empty if that is not known.
    """

    irps: tuple[NamedIrp, ...] = ()
    source: str = ""
    operation: str = ""

    @property
    def cause(self) -> str:
        """What is known of the operation that hangs; empty if nothing is.

        A driver that holds no IRP at all has answered it. What became of the answer is a guess.
        """
        if self.source and self.operation and not self.irps:
            return (
                f"The driver holds no request: it answered {self.operation}, and the guest lost the answer. "
                "Perhaps a request was completed twice, be it an earlier scenario's, or with Information "
                "larger than its buffer, or the routine that completed it has not returned. That is a guess."
            )
        for one in self.irps:
            if one.hangs and one.routine.module:
                who = (
                    f"{one.routine.module}, {one.routine.symbol},"
                    if one.routine.symbol
                    else _bare(one.routine)
                )
                return (
                    f"{who} took {one.request} and has not completed it: it waits, loops, or keeps the IRP."
                )
        return ""

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each IRP."""
        return tuple(
            f"hang: {one.request} at {one.irp.address:#x} is not completed; the driver's routine for it is "
            f"{one.routine.symbol or _bare(one.routine)} (from {self.source})"
            for one in self.irps
        )

    @property
    def document(self) -> dict[str, Any]:
        """The IRPs as JSON-ready data; addresses are integers."""
        return {
            "source": self.source,
            "irps": [
                {
                    "address": one.irp.address,
                    "function": one.irp.function,
                    "code": one.irp.code,
                    "device": one.irp.device,
                    "routine": place_document(one.routine),
                    "hangs": one.hangs,
                }
                for one in self.irps
            ],
        }


NONE_HELD = HeldIrps()


def names_operation(text: str) -> bool:
    """Whether a text names an operation of the agent that makes an IRP."""
    return _OPERATION.search(text) is not None


def named(held: Held, operation: str, symbols: Path) -> HeldIrps:
    """The IRPs with their routines' functions and lines.

    Args:
        operation: the operation that does not return, as the agent names it; empty if there is none.
        symbols: folder with the driver's builds and their PDBs.

    Raises:
        HostError: llvm-symbolizer is missing.
    """
    module = held.module
    offsets = {irp.routine - module.base for irp in held.irps if module.base <= irp.routine < module.end}
    frames = routines(module, sorted(offsets), SymbolPath("", folders=[symbols])) if offsets else {}
    found = []
    for irp in held.irps:
        offset = irp.routine - module.base
        place = Place(irp.routine)
        if offset in offsets:
            # The routine itself, not what the compiler inlined at its start.
            place = Place(irp.routine, module.name, offset, frames.get(offset, ())[-1:])
        found.append(NamedIrp(irp, place, _is_of(irp, operation)))
    hangs = _OPERATION.search(operation) if NOT_RETURNED in operation else None
    return HeldIrps(
        tuple(sorted(found, key=lambda one: not one.hangs)), held.source, hangs[1] if hangs else ""
    )


def _bare(routine: Place) -> str:
    return f"{routine.module}+{routine.offset:#x}" if routine.module else f"none ({routine.address:#x})"


def _is_of(irp: HeldIrp, operation: str) -> bool:
    """Whether an operation of the agent makes such an IRP."""
    found = _OPERATION.search(operation)
    if found is None or MAJOR[found[1]] != irp.major:
        return False
    code = _CODE.search(operation)
    return irp.code is None or code is None or int(code[1], 16) == irp.code
