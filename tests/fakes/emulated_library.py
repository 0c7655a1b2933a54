"""A Windows library run by an emulator: its routines are called, and its imports are Python functions."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pefile

STACK, STACK_SIZE = 0x7FF000000000, 0x40000
MEMORY, MEMORY_SIZE = 0x600000000, 0x100000
IMPORTS, RETURN = 0x500000000, 0x400000000
_PAGE = 0x1000

Imported = Callable[..., int]
"""Takes the library and the first four integer arguments; returns RAX."""
Calculated = Callable[..., float]
"""Takes as many numbers of 64 bits as it has parameters; returns one."""


class EmulatedLibrary:
    """One x64 library. Memory that a test needs comes from `put`.

    Args:
        imports: routine -> what answers it; one that is called and not here is a KeyError.
        calculated: routine -> what calculates it, and the number of its parameters.
    """

    def __init__(
        self,
        path: Path,
        imports: dict[str, Imported] | None = None,
        calculated: dict[str, tuple[Calculated, int]] | None = None,
    ) -> None:
        self._unicorn = importlib.import_module("unicorn")
        self._registers = importlib.import_module("unicorn.x86_const")
        self._imports = imports or {}
        self._calculated = calculated or {}
        self._used = 0
        image: Any = pefile.PE(str(path))
        self._base = image.OPTIONAL_HEADER.ImageBase
        self._exports = {
            one.name.decode(): one.address for one in image.DIRECTORY_ENTRY_EXPORT.symbols if one.name
        }
        self._machine = self._unicorn.Uc(self._unicorn.UC_ARCH_X86, self._unicorn.UC_MODE_64)
        content = image.get_memory_mapped_image()
        self._map(self._base, (len(content) + _PAGE - 1) & -_PAGE)
        self._machine.mem_write(self._base, content)
        for place, size in ((STACK, STACK_SIZE), (MEMORY, MEMORY_SIZE), (IMPORTS, _PAGE), (RETURN, _PAGE)):
            self._map(place, size)
        self._names = [one for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", []) for one in entry.imports]
        for number, one in enumerate(self._names):
            self._machine.mem_write(one.address, struct.pack("<Q", IMPORTS + 16 * number))
        self._machine.mem_write(IMPORTS, b"\xc3" * _PAGE)
        self._machine.hook_add(self._unicorn.UC_HOOK_CODE, self._called, begin=IMPORTS, end=IMPORTS + _PAGE)

    def put(self, data: bytes) -> int:
        """The address of a copy of `data` that lies in the library's memory."""
        address = MEMORY + self._used
        self._used += (len(data) + 15) & -16
        self._machine.mem_write(address, data)
        return address

    def text(self, value: str) -> int:
        """The address of a UTF-16 text that ends with a zero."""
        return self.put(value.encode("utf-16-le") + b"\0\0")

    def read(self, address: int, size: int) -> bytes:
        """Bytes of its memory."""
        return bytes(self._machine.mem_read(address, size))

    def read_text(self, address: int) -> str:
        """The UTF-16 text up to its zero."""
        return self.read(address, 4096).decode("utf-16-le", "replace").partition("\0")[0]

    def call(self, name: str, *arguments: int) -> int:
        """Calls a routine with integers and pointers; returns the low 32 bits of RAX."""
        for register, value in zip(("RCX", "RDX", "R8", "R9"), arguments, strict=False):
            self._set(register, value & (1 << 64) - 1)
        self._run(name, arguments[4:])
        return self._get("RAX") & 0xFFFFFFFF

    def calculate(self, name: str, *arguments: float) -> float:
        """Calls a routine that takes and returns numbers of 64 bits."""
        for number, value in enumerate(arguments):
            self._set_number(number, value)
        self._run(name, ())
        return self._number(0)

    def _run(self, name: str, more: tuple[int, ...]) -> None:
        top = STACK + STACK_SIZE - 0x1008
        self._machine.mem_write(top, struct.pack("<Q", RETURN))
        for number, value in enumerate(more):
            self._machine.mem_write(top + 0x28 + 8 * number, struct.pack("<Q", value))
        self._set("RSP", top)
        self._set("FPCW", 0x27F)  # as a thread of Windows begins: 53 bits
        self._machine.emu_start(self._base + self._exports[name], RETURN, timeout=5_000_000)
        assert self._get("RIP") == RETURN, f"{name} did not return"

    def _called(self, _machine: Any, address: int, _size: int, _data: object) -> None:
        name = self._names[(address - IMPORTS) // 16].name.decode()
        if name in self._calculated:
            calculate, count = self._calculated[name]
            self._set_number(0, calculate(*(self._number(number) for number in range(count))))
            return
        arguments = [self._get(register) for register in ("RCX", "RDX", "R8", "R9")]
        self._set("RAX", self._imports[name](self, *arguments))

    def _number(self, register: int) -> float:
        bits = self._get(f"XMM{register}") & (1 << 64) - 1
        return float(struct.unpack("<d", bits.to_bytes(8, "little"))[0])

    def _set_number(self, register: int, value: float) -> None:
        self._set(f"XMM{register}", int.from_bytes(struct.pack("<d", value), "little"))

    def _map(self, place: int, size: int) -> None:
        self._machine.mem_map(place, size)

    def _get(self, register: str) -> int:
        return int(self._machine.reg_read(getattr(self._registers, f"UC_X86_REG_{register}")))

    def _set(self, register: str, value: int) -> None:
        self._machine.reg_write(getattr(self._registers, f"UC_X86_REG_{register}"), value)
