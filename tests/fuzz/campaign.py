"""Runs one fuzzer: so many inputs, each within a time limit, all within a memory limit; keeps what fails."""

from __future__ import annotations

import argparse
import atexit
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(chance: random.Random, data: bytes, limit: int = 1 << 20) -> bytes:
    """`data` with up to six changes: bits, numbers, cuts, repeats, insertions; at most `limit` bytes."""
    body = bytearray(data)
    for _ in range(chance.randrange(7)):
        at = chance.randrange(len(body) + 1)
        change = chance.randrange(6)
        if change == 0 and at < len(body):
            body[at] ^= 1 << chance.randrange(8)
        elif change == 1:
            number = chance.choice(INTERESTING)
            body[at : at + 4] = number.to_bytes(4, chance.choice(("little", "big")))
        elif change == 2:
            del body[at : at + chance.randrange(1, 64)]
        elif change == 3:
            body[at:at] = chance.randbytes(chance.randrange(1, 32))
        elif change == 4:
            body[at:at] = body[at : at + chance.randrange(1, 512)] * chance.randrange(1, 20)
        else:
            del body[at:]
    return bytes(body[:limit])


def scratch_folder() -> Path:
    """A new folder, removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="winvm-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Campaign:
    """A fuzzer and its limits.

    Attributes:
        make: one input from a source of chance.
        check: handles one input; raises nothing but the errors that it expects and catches.
        seconds: for one input.
        megabytes: growth of this process's resident memory over all inputs.
        keep: the folder in which an input that fails is kept; by default that of temporary files.
    """

    make: Callable[[random.Random], bytes]
    check: Callable[[bytes], None]
    seconds: float
    megabytes: int
    keep: Path | None = None

    def run(self, count: int, seed: int) -> str:
        """Handles `count` inputs; returns what was measured.

        Raises:
            AssertionError: a limit is passed.
            Exception: what `check` raised; the input is kept, and its path is a note of the exception.
        """
        chance, before, slowest, began = (
            random.Random(seed),
            peak_megabytes(reset=True),
            0.0,
            time.monotonic(),
        )
        for number in range(count):
            data = self.make(chance)
            started = time.monotonic()
            try:
                self.check(data)
                took = time.monotonic() - started
                assert took < self.seconds, f"one input took {took:.1f} s"
            except Exception as error:
                kept = Path(tempfile.mkdtemp(prefix="winvm-fuzz-", dir=self.keep)) / f"{seed}-{number}"
                kept.write_bytes(data)
                error.add_note(f"input {number} of seed {seed}: {kept}")
                raise
            slowest = max(slowest, took)
        grown = peak_megabytes() - before
        assert grown < self.megabytes, f"memory grew by {grown} MB"
        total = time.monotonic() - began
        return f"{count} inputs in {total:.0f} s, slowest {slowest * 1000:.0f} ms, memory +{grown} MB"

    def command_line(self, description: str | None, count: int) -> None:
        """`--count` and `--seed`."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--count", type=int, default=count)
        parser.add_argument("--seed", type=int, default=0)
        options = parser.parse_args()
        print(self.run(options.count, options.seed))


def peak_megabytes(*, reset: bool = False) -> int:
    """The most memory that this process has had resident since the last `reset`, in MB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (
        text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM:")
    )
    return int(line.split()[1]) >> 10
