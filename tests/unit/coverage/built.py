"""A small driver that is built for coverage, and counters such as its guest would send."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from pathlib import Path

from harness.coverage.image import CoverageImage, coverage_image
from harness.journal import Journal
from harness.project import config
from harness.toolchain.builds import build_drivers

SOURCE = """#include <ntddk.h>

static int Twice(int n) {
    if (n > 3) {
        return 0;
    }
    return 2 * n;
}

static VOID NTAPI Unload(PDRIVER_OBJECT DriverObject) {
    DbgPrint("unloaded %p %d\\n", DriverObject, Twice(1));
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) {
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
"""
TOML = '[driver]\nname = "small"\nsources = ["small.c"]\n'


def build_small(folder: Path, toml: str = TOML) -> CoverageImage:
    """The driver of `SOURCE` in a project folder."""
    (folder / "small.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text(toml)
    loaded = config.load(folder / "winvm.toml").with_changes(coverage=True)
    return coverage_image(build_drivers(loaded, None, Journal())["release"])


def counters_of(image: CoverageImage, function: str) -> int:
    """The index of a function's first counter. function: `file.c:name` for a static one."""
    wanted = hashlib.md5(function.encode(), usedforsecurity=False).digest()[:8]
    for at in range(0, len(image.records), 64):
        if image.records[at : at + 8] == wanted:
            distance = int.from_bytes(image.records[at + 16 : at + 24], "little", signed=True)
            return (at + distance - image.distance) // 8
    raise LookupError(function)


def packed(image: CoverageImage, counts: dict[int, int]) -> str:
    """Counters as the agent sends them: index -> count, the others zero."""
    numbers = [counts.get(index, 0) for index in range(image.count)]
    return base64.b64encode(zlib.compress(struct.pack(f"<{image.count}Q", *numbers))).decode()
