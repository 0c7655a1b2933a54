"""Memory with chosen protections, to pass hostile pointers to drivers."""

from __future__ import annotations

import ctypes
from typing import Self

from agent.win32 import constants, kernel32
from agent.win32.layouts import DWORD


class Memory:
    """`size` bytes of committed memory with its own pages, freed at the end of its `with` block.

    With `guarded`, the bytes end exactly where an inaccessible page begins, so that an access one byte
    past the end faults. `address` stays readable after `free`: it is then a dangling pointer to pass on.
    """

    def __init__(self, size: int, *, guarded: bool = False) -> None:
        pages = -(-max(size, 1) // constants.PAGE_SIZE) * constants.PAGE_SIZE
        total = pages + (constants.PAGE_SIZE if guarded else 0)
        self.size = size
        self._base = kernel32.VirtualAlloc.check(
            f"VirtualAlloc({total})",
            None,
            total,
            constants.MEM_COMMIT | constants.MEM_RESERVE,
            constants.PAGE_READWRITE,
        )
        self._freed = False
        self.address = self._base + (pages - size if guarded else 0)
        if guarded:
            _protect(self._base + pages, constants.PAGE_SIZE, constants.PAGE_NOACCESS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.free()

    def read(self, size: int | None = None, offset: int = 0) -> bytes:
        """`size` bytes (all by default) from `offset`."""
        return ctypes.string_at(
            self.address + offset, self._within(self.size if size is None else size, offset)
        )

    def write(self, data: bytes, offset: int = 0) -> None:
        """Stores `data` at `offset`."""
        ctypes.memmove(self.address + offset, data, self._within(len(data), offset))

    def protect(self, protection: int) -> None:
        """Changes the protection of all its pages (`PAGE_READONLY`, `PAGE_NOACCESS`, ...)."""
        _protect(self.address, max(self.size, 1), protection)

    def free(self) -> None:
        """Gives the pages back; a second call does nothing. `address` now dangles."""
        if not self._freed:
            self._freed = True
            kernel32.VirtualFree.check("VirtualFree", self._base, 0, constants.MEM_RELEASE)

    def _within(self, size: int, offset: int) -> int:
        if self._freed:
            raise ValueError("the memory was freed")
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(f"{size} bytes at {offset} are outside of {self.size}")
        return size


class HeapMemory:
    """A block of the process heap, as a C program's `malloc` gives it; freed at the end of `with`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._heap = kernel32.GetProcessHeap.check("GetProcessHeap")
        self.address = kernel32.HeapAlloc.check(f"HeapAlloc({size})", self._heap, 8, size)  # 8: zeroed
        self._freed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.free()

    def read(self) -> bytes:
        """The whole block."""
        return ctypes.string_at(self.address, self.size)

    def free(self) -> None:
        """Gives the block back; a second call does nothing."""
        if not self._freed:
            self._freed = True
            kernel32.HeapFree.check("HeapFree", self._heap, 0, self.address)


def read_address(address: int, size: int) -> bytes:
    """Copies `size` bytes from an address of this process, such as one that a driver mapped.

    An address that cannot be read causes an access violation, which ctypes raises as OSError.
    """
    return ctypes.string_at(address, size)


def _protect(address: int, size: int, protection: int) -> None:
    old = DWORD(0)
    kernel32.VirtualProtect.check("VirtualProtect", address, size, protection, ctypes.addressof(old))
