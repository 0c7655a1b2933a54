"""Which module an address belongs to, which words on the stack may be return addresses, and whom to blame."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Sequence

from harness.dumps.summary import Module, Place, StackWord, VirtualMemory

MAX_STACK = 0x18000
"""Bytes of a stack that are scanned: more than the largest x64 kernel stack."""
_CORE = frozenset(
    {
        *("ntoskrnl.exe", "ntkrnlmp.exe", "hal.dll", "ci.dll", "verifier.dll", "verifierext.sys"),
        *("wdf01000.sys", "ndis.sys", "storport.sys", "fltmgr.sys"),
        *("win32k.sys", "win32kbase.sys", "win32kfull.sys", "win32ksgd.sys", "win32kbase_rs.sys"),
        *("kd.dll", "kdcom.dll", "kdnet.dll", "kdusb.dll", "kd1394.dll", "kdhv1394.dll", "kdvm.dll"),
        *("kdstub.dll", "kdnet_uart16550.dll"),
        *("kd_02_8086.dll", "kd_02_10ec.dll", "kd_02_14e4.dll", "kd_02_15b3.dll"),
        *("kd_02_1137.dll", "kd_02_10df.dll", "kd_02_19a2.dll", "kd_02_1969.dll", "kd_02_1af4.dll"),
        *("kd_07_1415.dll", "kd_0c_8086.dll", "kd_8003_5143.dll"),
        *("ntdll.dll", "kernel32.dll", "kernelbase.dll", "msvcrt.dll", "ucrtbase.dll"),
        *("advapi32.dll", "sechost.dll", "rpcrt4.dll", "winedevice.exe"),
    }
)
_LONGEST_CALL = 7
_EXECUTABLE = 0x20000000
_MAX_SECTIONS = 96


def is_core(module: str, driver: str = "") -> bool:
    """Whether a module serves others, so that a fault within it is mostly its caller's.

    Never of the driver under test, whose file name is `driver`.
    """
    name = module.lower()
    return name in _CORE and name != driver.lower()


class AddressMap:
    """Loaded and unloaded modules by address, and their code as far as the dump holds it."""

    def __init__(self, modules: Sequence[Module], unloaded: Sequence[Module], memory: VirtualMemory) -> None:
        self._loaded = sorted((module for module in modules if module.size), key=lambda module: module.base)
        self._bases = [module.base for module in self._loaded]
        self._unloaded = unloaded
        self._memory = memory
        self._code: dict[int, list[tuple[int, int]]] = {}

    def place(self, address: int) -> Place:
        """The address in its module; loaded ones first."""
        if module := self._module(address):
            return Place(address, module.name, address - module.base)
        for module in self._unloaded:
            if module.base <= address < module.end:
                return Place(address, f"<Unloaded {module.name}>", address - module.base)
        return Place(address)

    def scan(self, start: int) -> list[StackWord]:
        """Every aligned word from `start` to the end of that stack that lies in a loaded module."""
        start = (start + 7) & ~7
        data = self._memory.read(start, MAX_STACK)
        found = []
        for index, (word,) in enumerate(struct.iter_unpack("<Q", data[: len(data) & ~7])):
            if module := self._module(word):
                place = Place(word, module.name, word - module.base)
                found.append(StackWord(start + 8 * index, place, self.called(module, word)))
        return found

    def _module(self, address: int) -> Module | None:
        index = bisect.bisect_right(self._bases, address) - 1
        if index >= 0 and address < self._loaded[index].end:
            return self._loaded[index]
        return None

    def called(self, module: Module, address: int) -> bool | None:
        """Whether `address` follows a call in executable code; None when its bytes are not at hand."""
        sections = self._sections(module)
        offset = address - module.base
        if sections and not any(start < offset <= end for start, end in sections):
            return False
        code = self._memory.read(address - _LONGEST_CALL, _LONGEST_CALL)
        return follows_call(code) if len(code) == _LONGEST_CALL else None

    def _sections(self, module: Module) -> list[tuple[int, int]]:
        if module.base not in self._code:
            self._code[module.base] = executable_sections(self._memory, module.base)
        return self._code[module.base]


def follows_call(code: bytes) -> bool:
    """Whether 7 bytes of x64 code end with a call: E8 rel32, or FF /2 with any addressing form."""
    if code[2] == 0xE8:
        return True
    return any(
        code[-length] == 0xFF
        and code[1 - length] >> 3 & 7 == 2
        and _indirect_length(code[-length:]) == length
        for length in (2, 3, 4, 6, 7)
    )


def _indirect_length(code: bytes) -> int:
    """Length of the FF /2 instruction that `code` starts with."""
    mode, register = code[1] >> 6, code[1] & 7
    if mode == 3:
        return 2
    scaled = register == 4
    length = 2 + scaled + {0: 0, 1: 1, 2: 4}[mode]
    base = code[2] & 7 if scaled and len(code) > 2 else register
    return length + 4 if mode == 0 and base == 5 else length


def executable_sections(memory: VirtualMemory, base: int) -> list[tuple[int, int]]:
    """(start, end) offsets of the code sections of the image at `base`; empty without its header."""
    dos = memory.read(base, 0x40)
    if len(dos) < 0x40 or not dos.startswith(b"MZ"):
        return []
    at = base + struct.unpack_from("<I", dos, 0x3C)[0]
    header = memory.read(at, 24)
    if len(header) < 24 or not header.startswith(b"PE\0\0"):
        return []
    count, optional = struct.unpack_from("<H12xH", header, 6)
    size = 40 * min(count, _MAX_SECTIONS)
    table = memory.read(at + 24 + optional, size)
    if len(table) < size:
        return []
    found = []
    for start in range(0, size, 40):
        length, address = struct.unpack_from("<II", table, start + 8)
        if struct.unpack_from("<I", table, start + 36)[0] & _EXECUTABLE:
            found.append((address, address + length))
    return found


def blamed(site: Place | None, stack: Sequence[StackWord], driver: str = "") -> tuple[Place | None, bool]:
    """Whom to blame: the fault's site, or, when that is core code or nowhere, the first other on the stack.

    Args:
        driver: file name of the driver under test, which is never core code.

    Returns the place and whether the stack named it.
    """
    if site and site.module and not is_core(site.module, driver):
        return site, False
    for certain in (True, None):
        for word in stack:
            if word.called is certain and word.place.offset and not is_core(word.place.module or "", driver):
                return word.place, True
    return site, False
