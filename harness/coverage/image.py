"""The coverage sections of an instrumented driver, and the raw profile they make with a guest's counters.

Everything but the counters comes from the file on the host; the guest's share is a row of numbers, whose
length the file gives. A raw profile is laid out as `compiler-rt/include/profile/InstrProfData.inc` of LLVM 19
says, version 10; https://llvm.org/docs/InstrProfileFormat.html explains it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pefile

from harness.errors import BuildError

COUNTERS, DATA, NAMES = ".lprfc", ".lprfd", ".lprfn"
MAGIC = int.from_bytes(b"\xfflprofr\x81", "big")
VERSION = 10
RECORD = 64
"""Bytes of a function's record in `.lprfd`."""
DISTANCE_AT = 16
"""Offset in a record of the distance from it to its function's counters, 8 bytes."""
HEADER = struct.Struct("<16Q")
LAST_VALUE_KIND = 2
"""IPVK_Last: three kinds of values are profiled by LLVM 19, none of them here."""
MARGINS = 16
"""Bytes of the two ends that driver/instrument/coverage.c adds to the counters."""


@dataclass(frozen=True)
class CoverageImage:
    """What a profile needs of a driver's file.

    Attributes:
        file: the `.sys`.
        counter_bytes: size of the section with the counters.
        distance: from the records to the counters in memory, in bytes.
        records, names: contents of those sections.
    """

    file: Path
    counter_bytes: int
    distance: int
    records: bytes
    names: bytes

    @property
    def count(self) -> int:
        """Number of counters, each of 8 bytes, the two ends included."""
        return self.counter_bytes // 8

    def raw_profile(self, counters: bytes) -> bytes:
        """A `.profraw` of these counters.

        Raises:
            ValueError: there are more or fewer than the image has.
        """
        if len(counters) != self.counter_bytes:
            raise ValueError(f"{len(counters)} bytes of counters, and the image has {self.counter_bytes}")
        padding = -len(self.names) % 8
        head = HEADER.pack(
            MAGIC,
            VERSION,
            0,  # no binary ids
            len(self.records) // RECORD,
            0,
            self.count,
            0,
            0,  # no bitmaps of MC/DC
            0,
            len(self.names),
            self.distance & 0xFFFFFFFFFFFFFFFF,
            0,
            0,
            0,  # no virtual tables
            0,
            LAST_VALUE_KIND,
        )
        return head + self.records + counters + self.names + bytes(padding)


def coverage_image(driver: Path) -> CoverageImage:
    """Reads a driver that was built for coverage.

    Raises:
        BuildError: it has no counters: none of its units was compiled by clang with the options for coverage.
    """
    try:
        with pefile.PE(str(driver), fast_load=True) as image:
            found = {section.Name.rstrip(b"\0").decode("latin-1"): section for section in image.sections}
            counters, data, names = (found.get(name) for name in (COUNTERS, DATA, NAMES))
            if counters is None or data is None or names is None or counters.Misc_VirtualSize <= MARGINS:
                raise BuildError(
                    f"{driver.name} has no coverage counters: no source file was compiled for coverage.",
                    remedy="Coverage needs clang: let winvm compile the sources (driver.sources, project or "
                    "cmake), or call clang and lld-link by these names in driver.build.",
                )
            return CoverageImage(
                driver,
                counters.Misc_VirtualSize,
                counters.VirtualAddress - data.VirtualAddress,
                _with_whole_distances(data.get_data(length=data.Misc_VirtualSize)),
                # A zero stands before them for llvm-cov; llvm-profdata takes none.
                bytes(names.get_data(length=names.Misc_VirtualSize)).lstrip(b"\0"),
            )
    except pefile.PEFormatError as error:
        raise BuildError(f"{driver} is not a PE file: {error}.") from error


def _with_whole_distances(records: bytes) -> bytes:
    """The records with signed distances of 64 bits: COFF relocates the lower half alone."""
    whole = bytearray(records[: len(records) - len(records) % RECORD])
    for at in range(DISTANCE_AT, len(whole), RECORD):
        (low,) = struct.unpack_from("<i", whole, at)
        struct.pack_into("<q", whole, at, low)
    return bytes(whole)
