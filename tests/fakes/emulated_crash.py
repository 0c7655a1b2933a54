"""Full dumps of a kernel that crashed while a driver ran; both ran in an emulator: the chain is known.

The driver is a program made from a number: calls of many shapes, with stale return addresses left on the
stack. At the instruction that is asked for, an exception is raised as a processor does it, and the kernel's
handler goes on to KeBugCheckEx. The chain is kept by watching calls and the stack pointer, and shares
nothing with the unwinder.
"""

from __future__ import annotations

import importlib
import random
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import dump_writer as writer
from tests.fakes.emulated import loaded
from tests.fakes.kernel_structures import poke

NT, DRIVER = 0xFFFFF80100000000, 0xFFFFF80200000000
STACK, STACK_SIZE = 0xFFFFF90000000000, 0x18000
CODE = 0xD1
CLANG, GCC = "clang-19", "x86_64-w64-mingw32-gcc"
_REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)), "rip")
"""In the order of a CONTEXT."""
_EXCEPTION_DIRECTORY = 24 + 112 + 8 * 3
_NT = r"""
typedef unsigned long long u64;
#define N __attribute__((noinline))
#define E __declspec(dllexport)
volatile u64 sink, data[8];
E N void KeBugCheckEx(u64 code, u64 a, u64 b, u64 c, u64 d) { data[0] = code + a + b + c + d; for (;;) ; }
N void KiBugCheckDispatch(u64 x)
{ volatile u64 frame[32]; frame[1] = x; KeBugCheckEx(0xD1, x, 2, 1, frame[1]); sink++; }
__asm__(".globl KiPageFault\n.def KiPageFault; .scl 2; .type 32; .endef\n"
        ".seh_proc KiPageFault\nKiPageFault:\n"
        ".seh_pushframe @code\npushq %rbp\n.seh_pushreg %rbp\nsubq $0x158, %rsp\n.seh_stackalloc 0x158\n"
        "leaq 0x80(%rsp), %rbp\n.seh_setframe %rbp, 0x80\n.seh_endprologue\nmovq $0x10, %rcx\n"
        "call KiBugCheckDispatch\nnop\nleaq 0xd8(%rbp), %rsp\npopq %rbp\naddq $8, %rsp\niretq\n"
        ".seh_endproc\n");
E N u64 IofCallDriver(u64 (*entry)(u64), u64 x)
{ volatile u64 own[4]; own[0] = entry(x); return own[0] + sink; }
N int IopLoad(int (*entry)(void))
{ volatile u64 own[10]; own[0] = 1; sink = entry(); return own[0] + sink; }
E int NtStart(int (*entry)(void)) { IopLoad(entry); sink++; return 0; }
int _fltused;
"""
_HEAD = """
typedef unsigned long long u64;
#define N __attribute__((noinline))
__declspec(dllimport) u64 IofCallDriver(u64 (*entry)(u64), u64 x);
volatile u64 sink;
int _fltused;
N u64 Leaf(u64 x) { return x * 3 + 1; }
"""
_SHAPES = (
    """N u64 F{n}(u64 x) {{ volatile u64 own[{size}]; own[x % {size}] = x;
    sink = {callee}(x + 1); return own[0] + sink; }}""",
    """N u64 F{n}(u64 x) {{ volatile char *room = __builtin_alloca(x % 7 * 32 + 16);
    room[0] = 1; sink = {callee}(x); return Leaf(room[0]); }}""",
    "N u64 F{n}(u64 x) {{ sink = Leaf(x); return {callee}(x + {size}); }}",
    """N u64 F{n}(u64 x) {{ u64 a = Leaf(x), b = Leaf(a) + x, c = Leaf(b) ^ a, d = Leaf(c) - b;
    u64 e = {callee}(d % 9) + c; return a + b + c + d + e + x; }}""",
    """N u64 F{n}(u64 x) {{ double z = (double)x * 1.5; sink = {callee}(x);
    double w = z + (double)Leaf(x); return (u64)(z * w); }}""",
    """N u64 F{n}(u64 x) {{ if (x % 3 == 0) return {callee}(x + 1) + 1;
    if (x % 3 == 1) {{ sink = {callee}(x); return 5; }} return IofCallDriver({callee}, x + 1) + 2; }}""",
    """N u64 F{n}(u64 x) {{ volatile char room[{size} * 600]; room[x % {size}] = 1;
    sink = {callee}(x) + room[0]; return sink; }}""",
    """N u64 F{n}r(u64 depth, u64 x) {{ volatile u64 own[3]; own[depth % 3] = depth;
    return depth ? F{n}r(depth - 1, x) + own[depth % 3] : {callee}(own[0] + x); }}
N u64 F{n}(u64 x) {{ return F{n}r({size}, x) + 1; }}""",
    """N u64 F{n}(u64 x) {{ switch (x % 6) {{ case 0: sink = {callee}(1); break;
    case 1: sink += {callee}(2); break; case 2: return {callee}(3) * 7;
    case 3: sink = {callee}(x); return x; default: sink ^= {callee}(x + 2); }} return sink; }}""",
)


def program(seed: int, functions: int = 14) -> str:
    """The driver's source."""
    random_ = random.Random(seed)
    lines = [_HEAD]
    for number in range(functions):
        callee = f"F{random_.randrange(max(0, number - 2), number)}" if number else "Leaf"
        lines.append(random_.choice(_SHAPES).format(n=number, size=random_.randrange(2, 9), callee=callee))
    last = f"F{functions - 1}"
    lines.append(
        f"int DriverEntry(void) {{ sink = F3(4) + F5(1); IofCallDriver({last}, {seed % 50}); return 0; }}"
    )
    return "\n".join(lines)


@dataclass(frozen=True)
class Built:
    """Both images as the loader lays them out, and addresses of their functions."""

    folder: Path
    nt: bytes
    driver: bytes
    functions: dict[str, int]


def build(
    folder: Path,
    seed: int,
    options: tuple[str, ...] = ("-O1",),
    compiler: str = CLANG,
    *,
    source: str = "",
    kernel: str = "",
) -> Built:
    """Compiles and links the kernel and a driver, with their PDBs.

    Args:
        seed: the driver is made from it, unless its `source` is given.
        kernel: further functions of the kernel, in C.
    """
    (folder / "nt.c").write_text(_NT + kernel)
    (folder / "drv.c").write_text(source or program(seed))
    clang = [CLANG, "--target=x86_64-w64-windows-gnu", "-g", "-gcodeview", "-fasynchronous-unwind-tables"]
    flags = ["-ffreestanding", "-fno-builtin", "-mno-stack-arg-probe", "-w", "-c"]
    link = ["lld-link-19", "/subsystem:native", "/nodefaultlib", "/debug", "/dynamicbase:no"]
    nt = ["/dll", "/entry:NtStart", f"/base:{NT:#x}", "/pdb:ntkrnlmp.pdb", "/pdbaltpath:ntkrnlmp.pdb"]
    nt += ["/implib:nt.lib", "/lldmap:nt.map", "/out:ntoskrnl.exe", "nt.o"]
    driver = ["/driver", "/entry:DriverEntry", f"/base:{DRIVER:#x}", "/lldmap:drv.map", "/out:drv.sys"]
    for command in (
        [*clang, *flags, "-O1", "nt.c", "-o", "nt.o"],
        [*link, *nt],
        [*(clang if compiler == CLANG else [compiler]), *flags, *options, "drv.c", "-o", "drv.o"],
        [*link, *driver, "drv.o", "nt.lib"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    functions: dict[str, int] = {}
    for name, base in (("nt", NT), ("drv", DRIVER)):
        for line in (folder / f"{name}.map").read_text().splitlines():
            words = line.split()
            if len(words) == 4 and words[-1].isidentifier() and words[0] != "Address":
                functions.setdefault(words[-1], base + int(words[0], 16))
    image = bytearray(loaded(folder / "drv.sys"))
    _resolve(image, functions)
    return Built(folder, loaded(folder / "ntoskrnl.exe"), bytes(image), functions)


def _resolve(driver: bytearray, functions: dict[str, int]) -> None:
    """Fills the import table in."""
    pe = struct.unpack_from("<I", driver, 0x3C)[0]
    (at,) = struct.unpack_from("<I", driver, pe + 24 + 112 + 8)
    while at and struct.unpack_from("<I", driver, at + 12)[0]:
        names, table = struct.unpack_from("<I12xI", driver, at)
        for index in range(64):
            (name,) = struct.unpack_from("<Q", driver, names + 8 * index)
            if not name:
                break
            text = bytes(driver[name + 2 : driver.index(0, name + 2)]).decode()
            struct.pack_into("<Q", driver, table + 8 * index, functions[text])
        at += 20


def without_function_table(image: bytes) -> bytes:
    """The image without a reference to its .pdata."""
    data = bytearray(image)
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    struct.pack_into("<II", data, pe + _EXCEPTION_DIRECTORY, 0, 0)
    return bytes(data)


@dataclass(frozen=True)
class Crashed:
    """Registers at KeBugCheckEx, return addresses (innermost first), the stack, the faulting instruction."""

    registers: dict[str, int]
    chain: tuple[int, ...]
    stack: bytes
    fault: int


class Run:
    """One run from NtStart to KeBugCheckEx."""

    def __init__(self, built: Built) -> None:
        unicorn: Any = importlib.import_module("unicorn")
        names = importlib.import_module("unicorn.x86_const")
        self._built = built
        self._errors = unicorn.UcError
        self._cpu = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._cpu.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)  # addresses of a kernel, without page tables
        self._hook = unicorn.UC_HOOK_CODE
        self._numbers = {name: getattr(names, f"UC_X86_REG_{name.upper()}") for name in _REGISTERS}
        self._mxcsr = names.UC_X86_REG_MXCSR
        for base, data in ((NT, built.nt), (DRIVER, built.driver)):
            self._cpu.mem_map(base, (len(data) + 0xFFF) & ~0xFFF)
            self._cpu.mem_write(base, data)
        self._cpu.mem_map(STACK, STACK_SIZE)
        self._calls: list[tuple[int, int]] = []

    def _get(self, name: str) -> int:
        return int(self._cpu.reg_read(self._numbers[name])) & (1 << 64) - 1

    def crash(self, fault_at: int) -> Crashed | None:
        """Raises an exception at the driver's instruction number `fault_at`; None if it ends before that."""
        executed = 0

        def faults(at: int) -> bool:
            nonlocal executed
            executed += at >= DRIVER
            return executed == fault_at

        return self._crash(faults)

    def crash_in(self, start: int, end: int, number: int = 1) -> Crashed | None:
        """Raises an exception at the instruction of that number that is executed between two addresses."""
        executed = 0

        def faults(at: int) -> bool:
            nonlocal executed
            executed += start <= at < end
            return executed == number

        return self._crash(faults)

    def bugcheck(self) -> Crashed | None:
        """Runs until the code itself calls KeBugCheckEx; None if it does not."""
        return self._crash(lambda at: at == self._built.functions["KeBugCheckEx"], bugchecks=True)

    def _crash(self, faults: Callable[[int], bool], *, bugchecks: bool = False) -> Crashed | None:
        functions = self._built.functions
        fault, done = 0, False

        def executes(_cpu: object, at: int, size: int, _data: object) -> None:
            nonlocal fault, done
            sp = self._get("rsp")
            while self._calls and self._calls[-1][0] < sp:
                self._calls.pop()
            if not fault and faults(at):
                fault = at
                self._cpu.emu_stop()
                return
            if at == functions["KeBugCheckEx"]:
                done = True
                self._cpu.emu_stop()
                return
            code = bytes(self._cpu.mem_read(at, size))
            code = code[1:] if code[:1] and code[0] & 0xF0 == 0x40 else code
            if code[0] == 0xE8 or (code[0] == 0xFF and code[1] >> 3 & 7 == 2):
                self._calls.append((sp - 8, at + size))

        self._cpu.hook_add(self._hook, executes)
        top = STACK + STACK_SIZE - 0x108
        self._cpu.reg_write(self._numbers["rsp"], top)
        self._cpu.reg_write(self._numbers["rcx"], functions["DriverEntry"])
        self._cpu.reg_write(self._mxcsr, 0x1F80)
        try:
            self._cpu.emu_start(functions["NtStart"], 0, count=2_000_000)
        except self._errors:
            if self._get("rip"):  # it ends with a return to address 0
                raise
        if not fault:
            return None
        if not bugchecks:
            sp = self._get("rsp")
            frame = (sp & ~15) - 48
            self._cpu.mem_write(frame, struct.pack("<6Q", 2, fault, 0x10, 0x10246, sp, 0x18))
            self._calls.append((frame + 8, fault))
            self._cpu.reg_write(self._numbers["rsp"], frame)
            self._cpu.emu_start(functions["KiPageFault"], 0, count=100_000)
            assert done
        registers = {name: self._get(name) for name in self._numbers}
        stack = bytes(self._cpu.mem_read(STACK, STACK_SIZE))
        return Crashed(registers, tuple(at for _, at in reversed(self._calls)), stack, fault)


def write_dump(
    folder: Path,
    built: Built,
    crashed: Crashed,
    *,
    change: Callable[[bytes], bytes] = bytes,
    bugcheck: tuple[int, int, int, int, int] | None = None,
    driver: str = "drv.sys",
) -> Path:
    """A full dump; `change` alters the driver's image in it, `driver` is its file's name.

    Args:
        bugcheck: code and parameters, of another bugcheck than that of the page fault.
    """
    made = writer.guest()
    for address, data in ((NT, built.nt), (DRIVER, change(built.driver)), (STACK, crashed.stack)):
        poke(made, address, data)
    paths = ("\\SystemRoot\\system32\\ntoskrnl.exe", f"\\SystemRoot\\System32\\drivers\\{driver}")
    following = (writer.ENTRIES + 0x200, writer.LIST_HEAD)
    for index, (base, image) in enumerate(((NT, built.nt), (DRIVER, built.driver))):
        at, name_at = writer.ENTRIES + 0x200 * index, writer.ENTRIES + 0x800 + 0x100 * index
        (stamp,) = struct.unpack_from("<I", image, struct.unpack_from("<I", image, 0x3C)[0] + 8)
        path = paths[index]
        name = path.rpartition("\\")[2]
        poke(made, at, writer.entry(following[index], base, len(image), name_at, path, name, stamp))
        poke(made, name_at, path.encode("utf-16-le"))
    dump = bytearray(writer.full(made))
    struct.pack_into("<I4x4Q", dump, 0x38, *(bugcheck or (CODE, 0x10, 2, 1, crashed.fault)))
    struct.pack_into("<17Q", dump, 0x348 + 0x78, *(crashed.registers[name] for name in _REGISTERS))
    return writer.write(folder, bytes(dump), "crashed.dmp")
