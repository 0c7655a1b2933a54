"""Reads which kernel routines a guest's Wine really implements, from Wine's own PE builtin.

winebuild gives every name that a Wine spec file marks `stub` an export whose code loads the module name into
RCX and the routine's own name into RDX and calls `__wine_spec_unimplemented_stub`, which raises. Such a
routine resolves at load time and ends the driver when it is called; hence a driver's imports are compared
with this list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pefile

from harness.errors import ImageError

# sub rsp,0x28 / lea rcx,[rip+disp32] / lea rdx,[rip+disp32] / call rel32
_SUB_RSP = b"\x48\x83\xec\x28"
_LEA_RCX = b"\x48\x8d\x0d"
_LEA_RDX = b"\x48\x8d\x15"
_CALL = 0xE8
_THUNK_LENGTH = 23


def wine_exports(ntoskrnl_exe: Path) -> dict[str, list[str]]:
    """`{"implemented": [...], "stubs": [...]}`, sorted names exported by an x86-64 Wine builtin.

    Raises `ImageError` when the file cannot be read as a PE image with an export table.
    """
    try:
        image = pefile.PE(str(ntoskrnl_exe), fast_load=True)
        image.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXPORT"]])
        exports: list[Any] = image.DIRECTORY_ENTRY_EXPORT.symbols  # type: ignore[attr-defined]
    except (OSError, pefile.PEFormatError, AttributeError) as error:
        raise ImageError(
            f"{ntoskrnl_exe} has no readable export table: {error}.",
            remedy="Rebuild the guest image; Wine's x86_64-windows folder is incomplete.",
        ) from error
    names: dict[str, list[str]] = {"implemented": [], "stubs": []}
    for export in exports:
        if export.name:
            name = export.name.decode("ascii", "replace")
            stub = export.forwarder is None and _is_stub(image, export.address, name)
            names["stubs" if stub else "implemented"].append(name)
    return {kind: sorted(found) for kind, found in names.items()}


def _is_stub(image: pefile.PE, address: int, name: str) -> bool:
    """Whether the code at RVA `address` is the thunk that reports `name` as unimplemented."""
    code = image.get_data(address, _THUNK_LENGTH)
    if (
        len(code) < _THUNK_LENGTH
        or code[0:4] != _SUB_RSP
        or code[4:7] != _LEA_RCX
        or code[11:14] != _LEA_RDX
        or code[18] != _CALL
    ):
        return False
    displacement = int.from_bytes(code[14:18], "little", signed=True)
    text: bytes = image.get_data(address + 18 + displacement, len(name) + 1)
    return text == name.encode("ascii", "replace") + b"\0"
