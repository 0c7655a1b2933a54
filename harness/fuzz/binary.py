"""What a driver's file says of its devices and control codes: names in its data, constants in its code.

Both are guesses that the fuzzer tries: a code that the driver does not know costs an operation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.host import programs

DISASSEMBLE_S = 120.0
LISTING_LIMIT = 256 << 20
MOST_CODES = 256
RANGE_LIMIT = 64
"""Codes that a jump table may have."""
UNKNOWN_DEVICE = 0x22
"""FILE_DEVICE_UNKNOWN: the device type of most drivers."""
NEAR = 4
"""Instructions between the subtraction of a table's first code and the comparison with its length."""
PATH = re.compile(
    rb"(?:\\\x00(?:D\x00o\x00s\x00D\x00e\x00v\x00i\x00c\x00e\x00s|\?\x00\?)\x00\\\x00)((?:[ -~]\x00){1,100})"
)
NATIVE = re.compile(rb"\\\x00D\x00e\x00v\x00i\x00c\x00e\x00\\\x00((?:[ -~]\x00){1,100})")
NUMBER = re.compile(r"(?<![\w.])\$?(-?0x[0-9a-f]+|-?\d+)")
WANTED = re.compile(r"\b(cmp|sub|add|lea|mov|xor)[bwlq]?\b")


def device_paths(driver: Path) -> list[str]:
    """Object paths that the file's data names: symbolic links, or devices where there are none."""
    content = driver.read_bytes()
    links = [f"\\??\\{_text(found)}" for found in PATH.findall(content)]
    found = links or [f"\\Device\\{_text(name)}" for name in NATIVE.findall(content)]
    return [path for path in dict.fromkeys(found) if not re.search("WinvmInstrument|[%:]", path)][:16]


def _text(name: bytes) -> str:
    return name.decode("utf-16-le")


def control_codes(driver: Path) -> list[int]:
    """Constants of the code that may be control codes: of FILE_DEVICE_UNKNOWN, or the most frequent type.

    Raises:
        ConfigurationError: the file cannot be disassembled.
    """
    command = ["llvm-objdump-19", "-d", "--no-show-raw-insn", "--x86-asm-syntax=intel", str(driver)]
    done = programs.run(command, Deadline.after(DISASSEMBLE_S), limit=LISTING_LIMIT)
    if done.code:
        raise ConfigurationError(
            f"{driver.name} cannot be disassembled.",
            remedy="Name the control codes: winvm fuzz --ioctl 0x222000",
            detail=done.said,
        )
    return codes_of(done.text)


def codes_of(listing: str) -> list[int]:
    """The control codes in a disassembly of Intel's syntax."""
    found = list(dict.fromkeys(_candidates(listing.splitlines())))
    types = Counter(code >> 16 for code in found)
    if not types:
        return []
    most, _ = max(types.items(), key=lambda item: (item[0] == UNKNOWN_DEVICE, item[1], -item[0]))
    return [code for code in found if code >> 16 == most][:MOST_CODES]


def _candidates(lines: list[str]) -> Iterator[int]:
    """Constants, and the codes of tables: `sub ecx, FIRST`, `cmp ecx, LAST - FIRST`."""
    table: tuple[int, int] | None = None
    for at, line in enumerate(lines):
        if "rip" in line or not WANTED.search(line):  # an address of the image is no code
            continue
        operation = line.split("\t", 1)[-1]
        numbers = [int(number, 0) for number in NUMBER.findall(operation.split("<", 1)[0].replace("- ", "-"))]
        plausible = [code for number in numbers for code in (number, -number) if _plausible(code)]
        yield from plausible
        if plausible and not operation.lstrip().startswith("cmp"):
            table = at, plausible[0]
        elif table and at - table[0] <= NEAR and operation.lstrip().startswith("cmp") and numbers:
            last = numbers[-1]
            step = 4 if last >= 4 else 1
            if 0 < last // step <= RANGE_LIMIT:
                yield from range(table[1], table[1] + last + 1, step)


def _plausible(code: int) -> bool:
    """Whether CTL_CODE may give it: a device type that Windows or a vendor defines, and a function."""
    kind, function = code >> 16, (code >> 2) & 0xFFF
    return 0 < code <= 0xFFFFFFFF and (0 < kind <= 0x60 or 0x8000 <= kind < 0xFF00) and function != 0
