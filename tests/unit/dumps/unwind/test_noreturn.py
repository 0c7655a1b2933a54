"""Calls that do not come back, and code that reaches no return: the caller holds the call, not what follows.

Emulated crashes of handwritten and compiled functions, with and without unwind data, over a stack full of
return addresses of calls that ended before.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Found, Module, Summary
from harness.dumps.unwind.walk import StackWalk
from harness.dumps.unwind.x64_code import targets
from harness.dumps.unwind.x64_instruction import decoded
from tests.fakes.emulated_crash import (
    CLANG,
    GCC,
    Built,
    Crashed,
    Run,
    build,
    without_function_table,
    write_dump,
)

pytest.importorskip("unicorn", reason="unicorn, which runs the code, is not installed")

HEAD = """
typedef unsigned long long u64;
#define N __attribute__((noinline))
#define I __declspec(dllimport)
I u64 IofCallDriver(u64 (*entry)(u64), u64 x);
volatile u64 sink;
int _fltused;
N u64 Leaf(u64 x) { return x * 3 + 1; }
""" + "".join(
    f"""N u64 S{n}(u64 x) {{ volatile u64 own[{1 + n % 3}]; own[0] = x;
    sink += {f"S{n - 1}" if n else "Leaf"}(own[0] + 1); return own[0]; }}\n"""
    for n in range(8)
)
"""S7 leaves return addresses on the stack, which later calls do not overwrite everywhere."""
TAIL = """
N u64 Dispatch(u64 x) { volatile u64 own[4]; own[0] = x; sink += S7(x); sink += Mid(own[0]); return own[0]; }
int DriverEntry(void) { sink = IofCallDriver(Dispatch, 16); return 0; }
"""
ROOMS = (0x20, 0x28, 0x58, 0x60, 0x88, 0xB8, 0x178)
"""Bytes of a handwritten function's frame; some leave the stack unaligned, as careless code does."""
FOLLOWING = {
    "nothing": "",
    "breakpoint": "int3\\n",
    "leaf": "nop\\nnop\\nret\\n",
    "function": "nop\\nsubq $0x28, %rsp\\ncall Leaf\\naddq $0x28, %rsp\\nret\\n",
    "frame": "pushq %rbp\\nmovq %rsp, %rbp\\nsubq $0x20, %rsp\\ncall Leaf\\nleave\\nret\\n",
    "trap": "ud2\\n",
}
RAW = (
    HEAD
    + """
N u64 Fail(u64 x) {{ volatile u64 own[2]; own[0] = x; sink += *(volatile u64 *)own[0]; return own[0]; }}
u64 Raw(u64 x);
__asm__(".globl Raw\\nRaw:\\npushq %rbx\\nsubq ${room}, %rsp\\nmovq %rcx, %rbx\\ntestq %rcx, %rcx\\njz 1f\\n"
        "movq %rbx, %rcx\\ncall Fail\\n{following}"
        "1: xorl %eax, %eax\\naddq ${room}, %rsp\\npopq %rbx\\nret\\n");
N u64 Mid(u64 x) {{ volatile u64 own[2]; own[0] = x; sink += Raw(own[0]); return own[0]; }}
""".replace("{{", "{").replace("}}", "}")
    + TAIL
)
COMPILED = (
    HEAD
    + """
__attribute__((noreturn)) N void Raise(u64 x)
{ volatile u64 own[2]; own[0] = x; sink += *(volatile u64 *)own[0]; for (;;) sink++; }
N u64 Check(u64 x) { volatile u64 own[SIZE]; if (x > 3) Raise(x + own[0] * 0); own[0] = x; return own[0]; }
N u64 After(u64 x) { sink += Leaf(x); return sink; }
N u64 Ends(u64 x) { volatile u64 own[SIZE]; own[1] = x; Raise(x); }
N u64 AfterIt(u64 x) { sink += Leaf(x); return sink; }
N u64 Mid(u64 x) { volatile u64 own[2]; own[0] = x; sink += After(1) + AfterIt(2) + Check(1);
    sink += WHICH(own[0]); return own[0]; }
"""
    + TAIL
)
INDIRECT = """
void NtBad(u64 x);
__asm__(".globl NtBad\\nNtBad:\\npushq %rbx\\nsubq $ROOM, %rsp\\nmovq (%rcx), %rax\\nleaq 9f(%rip), %rdx\\n"
        "jmp *%rdx\\n9: addq $ROOM, %rsp\\npopq %rbx\\nret\\n");
E N u64 NtCall(u64 x) { NtBad(x); sink++; return sink; }
"""
CALLS_IT = (
    HEAD
    + """
I u64 NtCall(u64 x);
N u64 Mid(u64 x) { volatile u64 own[2]; own[0] = x; sink += NtCall(own[0]); return own[0]; }
"""
    + TAIL
)


def checked(folder: Path, built: Built, crashed: Crashed | None) -> None:
    """The chain is exact, with the driver's unwind data and without."""
    assert crashed
    for change in (bytes, without_function_table):
        found = summarise(write_dump(folder, built, crashed, change=change))
        assert chain(found) == crashed.chain
        assert all(frame.exact for frame in found.stack)


def chain(summary: Summary) -> tuple[int, ...]:
    return tuple(frame.place.address for frame in summary.stack[1:])


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_a_call_that_does_not_come_back_is_not_its_caller(name: str, tmp_path: Path) -> None:
    for room in ROOMS:
        source = RAW.replace("{room}", hex(room)).replace("{following}", FOLLOWING[name])
        built = build(tmp_path, 0, source=source)
        start = built.functions["Fail"]
        checked(tmp_path, built, Run(built).crash_in(start + 8, start + 0x20))


@pytest.mark.parametrize("which", ["Ends", "Check"])
@pytest.mark.parametrize("options", [("-O1",), ("-O2",), ("-O2", "-fno-asynchronous-unwind-tables")])
@pytest.mark.parametrize("compiler", [GCC, CLANG])
def test_compiled_functions_that_end_with_such_a_call(
    compiler: str, options: tuple[str, ...], which: str, tmp_path: Path
) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    for size in (2, 7, 19):
        source = COMPILED.replace("SIZE", str(size)).replace("WHICH", which)
        built = build(tmp_path, 0, options, compiler, source=source)
        start = built.functions["Raise"]
        checked(tmp_path, built, Run(built).crash_in(start + 8, start + 0x28))


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_that_jumps_on_through_a_register_is_followed_from_its_start(
    room: int, tmp_path: Path
) -> None:
    """Its kernel has unwind data, but none of this function."""
    built = build(tmp_path, 0, source=CALLS_IT, kernel=INDIRECT.replace("ROOM", hex(room)))
    start = built.functions["NtBad"]
    checked(tmp_path, built, Run(built).crash_in(start + 4, start + 16))


BASE, STACK = 0xFFFFF80050000000, 0xFFFFF90000000000
SIZE = 0x2000


class Neighbours:
    """Two modules side by side; the first ends with a call, which did not come back."""

    def __init__(self) -> None:
        self.data = bytearray(b"\xcc" * 2 * SIZE)
        self.data[SIZE - 5 : SIZE] = b"\xe8\0\0\0\0"
        self.data[0x1000:0x1006] = b"\x48\x83\xc4\x18\xc3\xcc"  # add rsp, 0x18; ret
        self.stack = bytearray(0x100)
        self.stack[0x18:0x20] = (BASE + SIZE).to_bytes(8, "little")

    def read(self, address: int, size: int) -> bytes:
        for start, data in ((BASE, self.data), (STACK, self.stack)):
            if start <= address < start + len(data):
                return bytes(data[address - start :][:size])
        return b""


def test_a_return_address_behind_its_module_belongs_to_the_module_of_the_call() -> None:
    memory = Neighbours()
    modules = [Module(f"{name}.sys", "", BASE + SIZE * at, SIZE) for at, name in enumerate("ab")]
    addresses = AddressMap(modules, [], memory)
    walk = StackWalk(addresses, memory, cpu.X64)
    _, frame, *_ = walk.walk({"rip": BASE + 0x1000, "rsp": STACK})
    assert (frame.place.module, frame.place.offset, frame.found) == ("a.sys", SIZE, Found.CODE)
    (word,) = addresses.scan(STACK)
    assert (word.place.module, word.called) == ("a.sys", True)


def handwritten(name: str, *lines: str) -> str:
    code = "\\n".join((f".globl {name}", f"{name}:", *lines))
    return f'u64 {name}(u64 x);\n__asm__("{code}\\n");\n'


SAVED = ("pushq %rbx", "pushq %rsi", "subq $0x28, %rsp", "movq %rcx, %rbx", "call S5", "movq %rbx, %rcx")
LEFT = ("addq $0x28, %rsp", "popq %rsi", "popq %rbx", "ret")
SHAPES = {
    "loop": (*SAVED, "1: call Deep", "jmp 1b", ".p2align 4, 0xcc"),
    "home": (
        *("movq %rbx, 8(%rsp)", "pushq %rdi", "subq $0x20, %rsp", "movq %rcx, %rbx", "call S3"),
        *("movq %rbx, %rcx", "call Deep", ".p2align 4, 0x90"),
    ),
    "aligned": (
        *("pushq %rbp", "movq %rsp, %rbp", "pushq %rbx", "subq $0x58, %rsp", "andq $-32, %rsp"),
        *("movq %rcx, %rbx", "call S6", "movq %rbx, %rcx", "call Deep", ".p2align 4, 0xcc"),
    ),
    "large": (
        *("pushq %rbx", "movl $0x1040, %eax", "call Probe", "subq %rax, %rsp", "movq %rcx, %rbx", "call S7"),
        *("movq %rbx, %rcx", "call Deep", ".p2align 4, 0xcc"),
    ),
    "arguments": (*SAVED, "pushq $5", "pushq $6", "subq $0x20, %rsp", "call Deep", ".p2align 4, 0xcc"),
    "other way": (
        *SAVED,
        *("testq %rcx, %rcx", "jnz 1f", "2:", *LEFT, ".p2align 4, 0x90", "1: call Deep", "jmp 2b"),
    ),
    "tail": (*SAVED, "movq %rbx, %rcx", *LEFT[:-1], "jmp Deep", ".p2align 4, 0xcc"),
    "any tail": (*SAVED, "leaq Deep(%rip), %rax", *LEFT[:-1], "jmp *%rax", ".p2align 4, 0xcc"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_handwritten_functions_of_every_shape(name: str, tmp_path: Path) -> None:
    """Deep fails in a loop without end: nothing but its start tells where its caller is."""
    source = HEAD + "N u64 Deep(u64 x) { volatile u64 own[2]; own[0] = x; for (;;) sink += own[0]; }\n"
    source += handwritten("Probe", "pushq %rcx", "popq %rcx", "ret")
    source += handwritten("Shape", *SHAPES[name])
    source += "N u64 Mid(u64 x) { volatile u64 own[3]; own[0] = x; sink += Shape(own[0]); return own[0]; }\n"
    built = build(tmp_path, 0, source=source + TAIL)
    start = built.functions["Deep"]
    checked(tmp_path, built, Run(built).crash_in(start, start + 0x40, 6))


def test_ways_through_the_code_do_not_see_what_others_store(tmp_path: Path) -> None:
    """A fault at the start of a function with a frame pointer; another way in it calls a function by a jump.

    What that one stores lies where the first way keeps the frame pointer.
    """
    source = HEAD + handwritten(
        "Other", "pushq %rbx", "subq $0x20, %rsp", "call Leaf", "addq $0x20, %rsp", "popq %rbx", "ret"
    )
    source += handwritten(
        "Twice",
        *(
            "pushq %rbp",
            "movq %rsp, %rbp",
            "andq $-16, %rsp",
            "subq $0x40, %rsp",
            "testq %rcx, %rcx",
            "jnz 1f",
        ),
        *("leave", "jmp Other", "1: decq %rcx", "call Twice", "nop", "leave", "ret"),
    )
    source += "N u64 Mid(u64 x) { volatile u64 own[3]; own[0] = x; sink += Twice(own[0]); return own[0]; }\n"
    built = build(tmp_path, 0, source=source + TAIL)
    start = built.functions["Twice"]
    checked(tmp_path, built, Run(built).crash_in(start, start + 1, 5))


@pytest.mark.parametrize(
    ("code", "following"),
    [("c3", []), ("c22000", []), ("cc", []), ("ffe0", []), ("eb10", [0x18]), ("7510", [0x8, 0x18])],
)
def test_code_goes_on_nowhere_behind_a_return_or_a_jump(code: str, following: list[int]) -> None:
    instruction = decoded(bytes.fromhex(code).ljust(16, b"\x90"))
    assert instruction
    assert targets(instruction, 8) == following


def test_a_function_that_calls_is_no_leaf_though_a_return_follows_the_call(tmp_path: Path) -> None:
    """Interrupted with a zero on top of the stack, which is no return address to nowhere."""
    source = HEAD + "N u64 Never(u64 x) { for (;;) sink += x; }\n"
    source += handwritten(
        "Raw",
        *("subq $0x28, %rsp", "movq $0, (%rsp)", ".globl Here", "Here:", "movq %rcx, %rdx"),
        *("call Never", "ret", ".p2align 4, 0xcc"),
    )
    source += "N u64 Mid(u64 x) { volatile u64 own[3]; own[0] = x; sink += Raw(own[0]); return own[0]; }\n"
    built = build(tmp_path, 0, source=source + TAIL)
    start = built.functions["Here"]
    checked(tmp_path, built, Run(built).crash_in(start, start + 1))
