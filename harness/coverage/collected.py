"""Collects what a guest's driver counted, per build and scenario, as the agent's answers come in.

The agent runs in the guest, so its numbers are untrusted: how many there are is known from the driver's file,
and nothing longer is decompressed.
"""

from __future__ import annotations

import array
import base64
import binascii
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.coverage.image import CoverageImage

MOST_TROUBLES = 50
LARGEST = (1 << 64) - 1


@dataclass
class Collected:
    """Counters of a run.

    Attributes:
        images: build -> its driver.
        troubles: why counts may be missing, each once.
    """

    images: Mapping[str, CoverageImage]
    troubles: list[str] = field(default_factory=list)
    _counted: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    """Build and scenario -> compressed counters, as they came."""
    _since_load: tuple[bytes, ...] = ()

    def add(
        self, build: str, scenario: str, counters: str, trouble: str = "", *, loaded: bool = False
    ) -> None:
        """Adds what an answer of the agent says.

        Args:
            counters: base64 of compressed numbers, or empty.
            loaded: the driver has just been loaded, so its counters began at zero.
        """
        if loaded:
            self._since_load = ()
        if trouble:
            self.missing(scenario, trouble)
        if not counters or build not in self.images:
            return
        try:
            self._keep(build, scenario, base64.b64decode(counters, validate=True))
        except (binascii.Error, zlib.error, ValueError) as error:
            self.missing(scenario, f"the guest sent no counters: {error}")

    def add_crash(self, build: str, scenario: str, counters: bytes) -> None:
        """Adds counters as they lay in memory at a crash, without what was added since the driver was loaded.

        Raises:
            ValueError: there are more or fewer than the driver has.
        """
        now = self._numbers(build, zlib.compress(counters, 1))
        before = self._sum(build, self._since_load)
        new = array.array("Q", [max(0, count - old) for count, old in zip(now, before, strict=True)])
        if sys.byteorder == "big":
            new.byteswap()
        self._keep(build, scenario, zlib.compress(new.tobytes(), 1))

    def missing(self, scenario: str, why: str) -> None:
        """Notes that counts of a scenario are missing."""
        line = f"{scenario}: {why.rstrip('.')}"
        if line not in self.troubles and len(self.troubles) < MOST_TROUBLES:
            self.troubles.append(line)

    def counters(self) -> Iterator[tuple[str, str, bytes]]:
        """Build, scenario and its counters, little-endian, in the order in which the scenarios first ran."""
        for (build, scenario), kept in self._counted.items():
            total = self._sum(build, kept)
            if sys.byteorder == "big":
                total.byteswap()
            yield build, scenario, total.tobytes()

    def _keep(self, build: str, scenario: str, compressed: bytes) -> None:
        self._numbers(build, compressed)
        self._counted.setdefault((build, scenario), []).append(compressed)
        self._since_load = (*self._since_load, compressed)

    def _numbers(self, build: str, compressed: bytes) -> array.array[int]:
        """The numbers; raises `ValueError` and `zlib.error`, unless there are as many as the driver has."""
        size = self.images[build].counter_bytes
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(compressed, size + 1)
        if len(content) != size or not unpacking.eof:
            raise ValueError(f"{len(content)} bytes of counters, and the driver has {size}")
        numbers = array.array("Q", content)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def _sum(self, build: str, kept: Iterable[bytes]) -> array.array[int]:
        total = array.array("Q", bytes(self.images[build].counter_bytes))
        for compressed in kept:
            numbers = self._numbers(build, compressed)
            total = array.array("Q", [(old + new) & LARGEST for old, new in zip(total, numbers, strict=True)])
        return total
