"""Finds the module of an address, the return addresses on a stack, and the module to blame."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable, Sequence

from harness.dumps import cpu
from harness.dumps.image import Image
from harness.dumps.summary import Found, Module, Place, StackFrame, StackWord, VirtualMemory

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
_PACIBSP = 0xD503237F
_CALL = 0xE8
_MAX_CALLED = 1 << 16
_PROLOGUES = (
    *(bytes.fromhex(f"{store}24") for store in ("48895c", "488974", "48896c", "48897c", "48894c", "488954")),
    *(bytes.fromhex(f"{store}24") for store in ("4c8944", "4c894c", "44894c", "448944", "894c", "8954")),
    *(bytes.fromhex(push) for push in ("4053", "4055", "4056", "4057", "4154", "4155", "4156", "4157")),
    *(bytes.fromhex(start) for start in ("4883ec", "4881ec", "488bc4", "4c8bdc", "489c")),
)
"""How functions start: registers stored in their home space or pushed, the stack pointer lowered or kept."""


def is_core(module: str, driver: str = "") -> bool:
    """Whether a module serves other modules, so that a fault in it is usually its caller's.

    The driver under test, whose file name is `driver`, is never such a module.
    """
    name = module.lower()
    return name in _CORE and name != driver.lower()


Files = Callable[[Module], VirtualMemory | None]
"""Finds the file of a module, addressed by offset from the image base, as the loader lays it out."""


def no_files(module: Module) -> VirtualMemory | None:  # noqa: ARG001
    """No module has a file."""
    return None


class AddressMap:
    """Loaded and unloaded modules by address, and their images as far as the dump or a file holds them.

    Args:
        machine: architecture of the code; x64 where it is unknown.
        files: finds the file of a module, if there is one.
        slow: memory is far away; what a file holds is not read there.
    """

    def __init__(
        self,
        modules: Sequence[Module],
        unloaded: Sequence[Module],
        memory: VirtualMemory,
        machine: int = cpu.X64,
        files: Files = no_files,
        *,
        slow: bool = False,
    ) -> None:
        self._loaded = sorted((module for module in modules if module.size), key=lambda module: module.base)
        self._bases = [module.base for module in self._loaded]
        self._by_end = {module.end: module for module in self._loaded}
        self._unloaded = unloaded
        self._memory = memory
        self._machine = machine
        self._files = files
        self.slow = slow
        self._images: dict[int, Image] = {}
        self._called: dict[int, bool | None] = {}

    def place(self, address: int, *, returns: bool = False) -> Place:
        """The address in its module; a loaded module takes precedence over an unloaded one.

        Args:
            returns: a call returns to it, and the module is that of the call: one that does not come back
                may end its module.
        """
        within = address - 1 if returns else address
        if module := self.module_at(within):
            return Place(address, module.name, address - module.base)
        for module in self._unloaded:
            if module.base <= within < module.end:
                return Place(address, f"<Unloaded {module.name}>", address - module.base)
        return Place(address)

    def scan(self, start: int) -> list[StackWord]:
        """Every aligned word from `start` to the end of that stack that lies in a loaded module."""
        size, form = (4, "<I") if self._machine == cpu.X86 else (8, "<Q")
        start = (start + size - 1) & -size
        data = self._memory.read(start, MAX_STACK)
        found = []
        for index, (word,) in enumerate(struct.iter_unpack(form, data[: len(data) & -size])):
            module = self.module_at(word)
            called = self.called(module, word) if module and word != module.base else False
            if not called and (ends := self._by_end.get(word)) and self.called(ends, word):
                module, called = ends, True
            if module:
                place = Place(word, module.name, word - module.base)
                found.append(StackWord(start + size * index, place, called))
        return found

    def module_at(self, address: int) -> Module | None:
        """The loaded module that holds the address."""
        index = bisect.bisect_right(self._bases, address) - 1
        if index >= 0 and address < self._loaded[index].end:
            return self._loaded[index]
        return None

    def image(self, module: Module) -> Image:
        """The module's image."""
        if module.base not in self._images:
            file = self._files(module)
            self._images[module.base] = Image(self._memory, module.base, file, file_first=self.slow)
        return self._images[module.base]

    def called(self, module: Module, address: int) -> bool | None:
        """Whether `address` follows a call in executable code; None when its bytes are not available."""
        key = address if address < module.end else -address  # the next module may start there
        if key not in self._called:
            if len(self._called) >= _MAX_CALLED:
                self._called.clear()
            self._called[key] = self._follows(self.image(module), address - module.base)
        return self._called[key]

    def _follows(self, image: Image, offset: int) -> bool | None:
        sections = image.sections
        if sections and not any(start < offset <= end for start, end in sections):
            return False
        if self._machine == cpu.ARM64:
            code = image.read(offset - 4, 4)
            if offset & 3:
                return False
            if len(code) == 4:
                return follows_branch_with_link(code)
            return False if begins_or_is_no_code(image.read(offset, 4)) else None
        code = image.read(offset - _LONGEST_CALL, _LONGEST_CALL)
        if len(code) == _LONGEST_CALL:
            return follows_call(code)
        # A minidump keeps what follows an address. A prologue there means a function pointer; a pointer, or
        # zeros, mean data.
        following = image.read(offset, 8)
        if not offset & 15 and following.startswith(_PROLOGUES):
            return False
        if len(following) < 8:
            return None
        is_data = following.startswith(b"\0\0\0\0") or self.module_at(int.from_bytes(following, "little"))
        return False if is_data else None


def call_target(addresses: AddressMap, returns_to: int) -> int | None:
    """Address that the direct x64 call before a return address names; None if there is no such call."""
    module = addresses.module_at(returns_to - 1)
    if module is None:
        return None
    code = addresses.image(module).read(returns_to - 5 - module.base, 5)
    if len(code) < 5 or code[0] != _CALL:
        return None
    return returns_to + int.from_bytes(code[1:], "little", signed=True)


def follows_branch_with_link(code: bytes) -> bool:
    """Whether 4 bytes of ARM64 code are BL, or BLR in any of its forms."""
    word = int.from_bytes(code, "little")
    return word >> 26 == 0b100101 or word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFEFFF800 == 0xD63F0800


def begins_or_is_no_code(code: bytes) -> bool:
    """Whether 4 bytes of an ARM64 image start a function (PACIBSP, `stp ..., [sp, ...]!`) or are data.

    Words whose bits 25 to 28 are 0000, 0001 or 0011 are no instructions (Arm ARM, C4.1).
    """
    if len(code) < 4:
        return False
    word = int.from_bytes(code, "little")
    return word == _PACIBSP or word & 0xFFC003E0 == 0xA98003E0 or word >> 25 & 0xF in (0, 1, 3)


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


def blamed(site: Place | None, stack: Sequence[StackFrame], driver: str = "") -> tuple[Place | None, bool]:
    """Finds the place to blame: the fault's, or the first outside the core on the stack.

    The stack is used when the fault lies in core code or in no module. An exact frame comes first, then one
    that was derived from a scanned one; a frame that a scan found is only used when there is no other.

    Args:
        driver: file name of the driver under test, which is never core code.

    Returns the place and whether it is from the stack.
    """
    if site and site.module and not is_core(site.module, driver):
        return site, False
    own = [frame for frame in stack if frame.place.module and not is_core(frame.place.module, driver)]
    best = min(own, key=lambda frame: (not frame.exact, frame.found is Found.SCAN), default=None)
    return (best.place, True) if best else (site, False)
