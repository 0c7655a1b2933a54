"""Control codes: built from their parts as CTL_CODE does, and taken apart again.

Layout: https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-i-o-control-codes.
"""

from __future__ import annotations

import enum
import functools
import sys
from dataclasses import dataclass

METHODS = ("METHOD_BUFFERED", "METHOD_IN_DIRECT", "METHOD_OUT_DIRECT", "METHOD_NEITHER")
METHOD_BUFFERED, METHOD_IN_DIRECT, METHOD_OUT_DIRECT, METHOD_NEITHER = range(4)
ACCESSES = (
    "FILE_ANY_ACCESS",
    "FILE_READ_ACCESS",
    "FILE_WRITE_ACCESS",
    "FILE_READ_ACCESS | FILE_WRITE_ACCESS",
)
FILE_ANY_ACCESS, FILE_READ_ACCESS, FILE_WRITE_ACCESS = range(3)
FILE_DEVICE_UNKNOWN = 0x22
SMALLEST_CODE = 0xFFFF


def ctl_code(
    device_type: int, function: int, method: int = METHOD_BUFFERED, access: int = FILE_ANY_ACCESS
) -> int:
    """The control code of these parts, as the macro CTL_CODE computes it.

    Raises:
        ValueError: a part does not fit into its field: 16 bits, 12 bits, 2 bits, 2 bits.
    """
    for name, value, bits in (
        ("device_type", device_type, 16),
        ("function", function, 12),
        ("method", method, 2),
        ("access", access, 2),
    ):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} 0x{value:X} of a control code does not fit into {bits} bits")
    return device_type << 16 | access << 14 | function << 2 | method


@dataclass(frozen=True)
class ControlCode:
    """The parts of a control code; `str` gives it as a C source writes it."""

    device_type: int
    function: int
    method: int
    access: int

    @classmethod
    def of(cls, code: int) -> ControlCode:
        """Takes a code of 32 bits apart."""
        return cls(code >> 16 & 0xFFFF, code >> 2 & 0xFFF, code & 3, code >> 14 & 3)

    def __int__(self) -> int:
        return ctl_code(self.device_type, self.function, self.method, self.access)

    def __str__(self) -> str:
        parts = (
            f"0x{self.device_type:X}, 0x{self.function:X}, {METHODS[self.method]}, {ACCESSES[self.access]}"
        )
        return f"CTL_CODE({parts})"


def shown_code(code: int) -> str:
    """A code for the journal and for errors, `0x222003 ECHO_READ`: its name if an enumeration has one."""
    name = code.name if isinstance(code, enum.Enum) else _known_name(code)
    return f"0x{code:06X} {name}".rstrip()


@functools.lru_cache(maxsize=1024)
def _known_name(code: int) -> str:
    """The name that an enumeration of the scenarios' modules gives a plain number; empty if none does."""
    if code <= SMALLEST_CODE:
        return ""  # of a device type below 1: rather some other number
    for module_name, module in sorted(sys.modules.items()):
        if not module_name.startswith("scenarios."):
            continue
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, enum.IntEnum) and code in list(found):
                return found(code).name
    return ""
