"""Reads a contract header: its X-macro rows, expanded by clang's preprocessor, as plain data.

The preprocessor expands the rows, so a header may build them from other macros. The contract hash is the
SHA-256 of the rows as canonical JSON: comments and layout do not count; names, numbers, offsets and texts do.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ContractError
from harness.host import programs

PREPROCESS_S = 60.0

COMPILER = "clang-19"

# ntddk.h and winioctl.h values; the rows name them as CTL_CODE does.
_NAMED_VALUES = {
    "FILE_DEVICE_UNKNOWN": 0x22,
    "METHOD_BUFFERED": 0,
    "METHOD_IN_DIRECT": 1,
    "METHOD_OUT_DIRECT": 2,
    "METHOD_NEITHER": 3,
    "FILE_ANY_ACCESS": 0,
    "FILE_READ_ACCESS": 1,
    "FILE_WRITE_ACCESS": 2,
    "FILE_READ_ACCESS|FILE_WRITE_ACCESS": 3,
}

# C type -> (ctypes name, type of the attribute in Python)
CTYPES = {
    "char": ("c_char", "bytes"),
    "int8_t": ("c_int8", "int"),
    "uint8_t": ("c_uint8", "int"),
    "int16_t": ("c_int16", "int"),
    "uint16_t": ("c_uint16", "int"),
    "int32_t": ("c_int32", "int"),
    "uint32_t": ("c_uint32", "int"),
    "int64_t": ("c_int64", "int"),
    "uint64_t": ("c_uint64", "int"),
}

# Rows come out as `@ROW [...]`, each a JSON array; numbers stay text so that hexadecimal survives.
_PROBE = """
#define {p}_CONTRACT_ROWS_ONLY
#include "{header}"
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define DEVICE_(device, name, link) @ROW ["device", #device, name, link]
#define IOCTL_(device, operation, type, function, method, access) \\
    @ROW ["ioctl", #device, #operation, TEXT(type), TEXT(function), TEXT(method), TEXT(access)]
#define FIELD_(structure, offset, type, name) @ROW ["field", #structure, TEXT(offset), #type, #name, "0"]
#define ARRAY_(structure, offset, type, name, count) \\
    @ROW ["field", #structure, TEXT(offset), #type, #name, TEXT(count)]
#define STRUCTURE_(structure, size, alignment, fields) \\
    @ROW ["structure", #structure, TEXT(size)] fields(FIELD_, ARRAY_)
#define CONSTANT_(name, value) @ROW ["constant", #name, TEXT(value)]
#define STRING_(name, text) @ROW ["string", #name, text]
#define SEQUENCE_(name, ...) @ROW ["sequence", #name, TEXT((__VA_ARGS__))]
@ROW ["version", TEXT({p}_CONTRACT_VERSION)]
#ifdef {p}_DEVICES
{p}_DEVICES(DEVICE_)
#endif
#ifdef {p}_IOCTLS
{p}_IOCTLS(IOCTL_)
#endif
#ifdef {p}_STRUCTURES
{p}_STRUCTURES(STRUCTURE_)
#endif
#ifdef {p}_CONSTANTS
{p}_CONSTANTS(CONSTANT_)
#endif
#ifdef {p}_STRINGS
{p}_STRINGS(STRING_)
#endif
#ifdef {p}_SEQUENCES
{p}_SEQUENCES(SEQUENCE_)
#endif
"""


@dataclass(frozen=True)
class Ioctl:
    """One control code: `code` is CTL_CODE's 32-bit value."""

    device: str
    operation: str
    code: int


@dataclass(frozen=True)
class Field:
    """One member at `offset` bytes; `count` is 0 for a scalar, else the number of array elements."""

    offset: int
    type: str
    name: str
    count: int


@dataclass(frozen=True)
class Structure:
    """One structure of `size` bytes."""

    name: str
    size: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Contract:
    """Everything the header's rows say, names without the prefix, in the order of the rows."""

    version: int
    devices: dict[str, tuple[str, str]]
    ioctls: tuple[Ioctl, ...]
    structures: tuple[Structure, ...]
    constants: dict[str, int]
    strings: dict[str, str]
    sequences: dict[str, tuple[int, ...]]

    @property
    def hash(self) -> bytes:
        """SHA-256 of the rows as canonical JSON, 32 bytes."""
        return hashlib.sha256(json.dumps(asdict(self), separators=(",", ":")).encode()).digest()

    @property
    def has_hello(self) -> bool:
        """Whether the driver can say which contract it was built with."""
        return any(ioctl.operation == "HELLO" for ioctl in self.ioctls) and any(
            structure.name == "HELLO" for structure in self.structures
        )


def read_contract(header: Path, prefix: str = "WINVM", compiler: str = COMPILER) -> Contract:
    """Expands a header's rows. Raises `ContractError` for a header or a row that is not understood."""
    if not header.is_file():
        raise ContractError(f"There is no contract header {header}.", remedy="Name one with --header.")
    probe = _PROBE.format(p=prefix, header=header.resolve())
    command = [compiler, "-E", "-P", "-x", "c", "-"]
    try:
        done = programs.run(command, Deadline.after(PREPROCESS_S), stdin=probe.encode())
    except programs.MissingProgramError as error:
        raise ContractError(
            f"The preprocessor {compiler} cannot be run: {error.message}", remedy="Install clang-19."
        ) from error
    if done.code:
        raise ContractError(
            f"{header} cannot be preprocessed.", remedy="Correct the header.", detail=done.said
        )
    return _contract(_rows(done.text, header), prefix, header)


def _rows(expanded: str, header: Path) -> list[list[str]]:
    decoder = json.JSONDecoder()
    rows = []
    for chunk in expanded.split("@ROW")[1:]:
        try:
            row, _ = decoder.raw_decode(chunk.strip())
        except ValueError as error:
            raise ContractError(
                f"A row of {header} is not understood: {chunk.strip()[:120]!r}.",
                remedy="Give names as identifiers and texts as string literals.",
            ) from error
        rows.append(row)
    return rows


def _contract(rows: list[list[str]], prefix: str, header: Path) -> Contract:
    def number(text: str) -> int:
        text = text.strip("() ").replace(" ", "")
        if text in _NAMED_VALUES:
            return _NAMED_VALUES[text]
        try:
            return int(re.sub(r"[uUlL]+$", "", text), 0)
        except ValueError as error:
            raise ContractError(
                f"{header}: {text!r} is not a number.", remedy="Write plain integers in the rows."
            ) from error

    def bare(name: str) -> str:
        return name.removeprefix(prefix + "_")

    by_kind: dict[str, list[list[str]]] = {}
    for kind, *rest in rows:
        by_kind.setdefault(kind, []).append(rest)
    fields: dict[str, list[Field]] = {}
    for owner, offset, type_, name, count in by_kind.get("field", []):
        if type_ not in CTYPES:
            raise ContractError(
                f"{header}: {owner}.{name} has type {type_!r}.", remedy="Use the <stdint.h> types or char."
            )
        fields.setdefault(owner, []).append(Field(number(offset), type_, name, number(count)))
    devices = {device: (name, link) for device, name, link in by_kind.get("device", [])}
    ioctls = []
    for device, operation, type_, function, method, access in by_kind.get("ioctl", []):
        if device not in devices:
            raise ContractError(
                f"{header}: the IOCTL {operation} belongs to no device.", remedy=f"Add a row for {device}."
            )
        code = number(type_) << 16 | number(access) << 14 | number(function) << 2 | number(method)
        ioctls.append(Ioctl(device, operation, code))
    return Contract(
        version=number(by_kind["version"][0][0]),
        devices=devices,
        ioctls=tuple(ioctls),
        structures=tuple(
            Structure(bare(name), number(size), tuple(fields.get(name, ())))
            for name, size in by_kind.get("structure", [])
        ),
        constants={bare(name): number(value) for name, value in by_kind.get("constant", [])},
        strings={bare(name): text for name, text in by_kind.get("string", [])},
        sequences={
            bare(name): tuple(number(item) for item in items.strip("()").split(","))
            for name, items in by_kind.get("sequence", [])
        },
    )
