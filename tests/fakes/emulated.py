"""Real x64 and ARM64 code, compiled here and run by an emulator, with its true call chain for comparison.

The chain is kept by watching calls and the stack pointer, and shares nothing with the unwinder.
"""

from __future__ import annotations

import importlib
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = 0x180000000
STACK = 0x7FF000000000
STACK_SIZE = 0x80000
X64, ARM64 = 0x8664, 0xAA64
TARGETS = {X64: "x86_64-w64-windows-gnu", ARM64: "aarch64-w64-windows-gnu"}

SOURCE = """\
typedef unsigned long long u64;
#define N __attribute__((noinline))
volatile u64 sink;
N u64 Leaf(u64 x) { return x * 3 + 1; }
N u64 Many(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    u64 g = Leaf(a) + f, h = Leaf(b) + g, i = Leaf(c) ^ h, j = Leaf(d) - i, k = Leaf(e) + j, l = Leaf(f) ^ k;
    sink = Leaf(g + l);
    return a + b + c + d + e + f + g + h + i + j + k + l;
}
N double Floats(double x, double y)
{
    double z = (double)Leaf((u64)x) * y, w = (double)Leaf((u64)y) + z;
    sink = Leaf((u64)(z + w));
    return x * y + z / (w + 1);
}
N u64 Alloca(u64 size)
{
    volatile char *room = __builtin_alloca(size * 16 + 16);
    room[0] = (char)size;
    sink = Many(size, 2, 3, 4, 5, room[0]);
    return Leaf(room[0]);
}
N u64 Large(u64 x) { volatile char room[3000]; room[x] = 1; sink = Alloca(x) + room[x]; return sink; }
N u64 Tail(u64 x) { sink = Leaf(x); __attribute__((musttail)) return Large(x + 1); }
N u64 Early(u64 x)
{
    if (x == 5) return 7;
    if (x > 3) { sink = Leaf(x); return Leaf(x - 1); }
    return Tail(x);
}
N u64 Called(u64 (*function)(u64), u64 x) { u64 y = function(x); sink = y; return y + function(x + 3); }
N u64 Deep(u64 depth) { volatile u64 own[3]; own[depth % 3] = depth;
    return depth ? Deep(depth - 1) + own[depth % 3] : Leaf(own[0]); }
u64 Start(u64 depth)
{
    u64 x = Called(Early, 2) + Called(Early, 5) + (u64)Floats(3.5, 2.5);
    sink = Deep(depth) + x;
    return sink;
}
int DriverEntry(void *driver, void *path) { (void)driver; (void)path; return (int)Start(2); }
int _fltused;
"""


def build(folder: Path, machine: int, *, optimise: str = "-O2", frame_pointer: bool = False) -> Path:
    """The source above as an image with its PDB, `code.sys`."""
    (folder / "code.c").write_text(SOURCE)
    compile_it = [
        "clang-19",
        f"--target={TARGETS[machine]}",
        "-ffreestanding",
        optimise,
        "-g",
        "-gcodeview",
        "-c",
    ]
    compile_it += ["-fno-omit-frame-pointer"] if frame_pointer else []
    compile_it += [
        "-fasynchronous-unwind-tables",
        "-mno-stack-arg-probe",
        "-fno-builtin",
        "code.c",
        "-o",
        "code.o",
    ]
    subprocess.run(compile_it, cwd=folder, check=True)
    link = ["lld-link-19", "/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib", "/debug"]
    link += [f"/machine:{'x64' if machine == X64 else 'arm64'}", f"/base:{BASE:#x}", "/lldmap:code.map"]
    subprocess.run([*link, "/out:code.sys", "code.o"], cwd=folder, check=True)
    return folder / "code.sys"


def address_of(image: Path, name: str) -> int:
    """Of a function, from the linker's map."""
    for line in image.with_suffix(".map").read_text().splitlines():
        words = line.split()
        if words and words[-1] == name and len(words) >= 2:
            return BASE + int(words[0], 16)
    raise KeyError(name)


def loaded(image: Path) -> bytes:
    """The image as the loader lays it out."""
    data = image.read_bytes()
    at = struct.unpack_from("<I", data, 0x3C)[0]
    count, optional = struct.unpack_from("<H12xH", data, at + 6)
    size, headers = struct.unpack_from("<II", data, at + 24 + 56)
    flat = bytearray(size)
    flat[:headers] = data[:headers]
    for start in range(at + 24 + optional, at + 24 + optional + 40 * count, 40):
        virtual, address, stored, offset = struct.unpack_from("<IIII", data, start + 8)
        length = min(virtual, stored)
        flat[address : address + length] = data[offset : offset + length]
    return bytes(flat)


@dataclass(frozen=True)
class Stop:
    """State of the code: registers by name, and the return addresses, innermost first."""

    registers: dict[str, int]
    chain: tuple[int, ...]


class Emulated:
    """The image in an emulator; also the `VirtualMemory` of what runs."""

    def __init__(self, image: Path, machine: int) -> None:
        unicorn: Any = importlib.import_module("unicorn")
        self._errors = unicorn.UcError
        self._code_hook = unicorn.UC_HOOK_CODE
        self._machine = machine
        if machine == X64:
            self._cpu = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        else:
            self._cpu = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.image = loaded(image)
        self._cpu.mem_map(BASE, (len(self.image) + 0xFFF) & ~0xFFF)
        self._cpu.mem_write(BASE, self.image)
        self._cpu.mem_map(STACK, STACK_SIZE)
        self._numbers = self._registers()

    def _registers(self) -> dict[str, int]:
        if self._machine == X64:
            kind, wanted = "X86", ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip"]
            wanted += [f"r{n}" for n in range(8, 16)]
        else:
            kind, wanted = "ARM64", [*(f"x{n}" for n in range(29)), "fp", "lr", "sp", "pc"]
        names = importlib.import_module(f"unicorn.{kind.lower()}_const")
        return {name: getattr(names, f"UC_{kind}_REG_{name.upper()}") for name in wanted}

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes of the image or the stack."""
        for start, length in ((BASE, len(self.image)), (STACK, STACK_SIZE)):
            if start <= address < start + length:
                return bytes(self._cpu.mem_read(address, min(size, start + length - address)))
        return b""

    def state(self) -> dict[str, int]:
        return {name: self._cpu.reg_read(number) & (1 << 64) - 1 for name, number in self._numbers.items()}

    def run(self, address: int, argument: int, visit: Callable[[Stop], None], *, most: int) -> None:
        """Calls `visit` at each of the first `most` instructions from `address` on, before it is executed."""
        is_x64 = self._machine == X64
        pointer, counter = ("rsp", "rip") if is_x64 else ("sp", "pc")
        self._cpu.reg_write(self._numbers[pointer], STACK + STACK_SIZE - (0x108 if is_x64 else 0x110))
        self._cpu.reg_write(self._numbers["rcx" if is_x64 else "x0"], argument)
        if not is_x64:
            names = importlib.import_module("unicorn.arm64_const")
            self._cpu.reg_write(names.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point is allowed
        calls: list[tuple[int, int]] = []

        def executes(_cpu: object, at: int, _size: int, _data: object) -> None:
            sp = self._cpu.reg_read(self._numbers[pointer])
            if is_x64:
                while calls and calls[-1][0] < sp:
                    calls.pop()
            elif calls and calls[-1] == (sp, at):
                calls.pop()
            visit(Stop({**self.state(), counter: at}, tuple(one for _, one in reversed(calls))))
            if length := self._call(self.read(at, 8)):
                calls.append((sp - 8 if is_x64 else sp, at + length))

        hook = self._cpu.hook_add(self._code_hook, executes, None, BASE, BASE + len(self.image))
        try:
            self._cpu.emu_start(address, 0, count=most)
        except self._errors:
            if self.state()[counter]:  # it ends with a return to address 0
                raise
        finally:
            self._cpu.hook_del(hook)

    def halt(self) -> None:
        """Ends `run` at the instruction that is visited."""
        self._cpu.emu_stop()

    def _call(self, code: bytes) -> int:
        """The length of the call instruction that `code` starts with, else 0."""
        if self._machine == ARM64:
            word = struct.unpack_from("<I", code)[0]
            return 4 if word >> 26 == 0b100101 or word & 0xFFFFFC1F == 0xD63F0000 else 0
        if code[0] == 0xE8:
            return 5
        if code[0] == 0xFF and code[1] & 0xF8 == 0xD0:
            return 2
        return 3 if code[0] == 0x41 and code[1] == 0xFF and code[2] & 0xF8 == 0xD0 else 0
