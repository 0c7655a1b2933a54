"""Mutated dumps give a summary or a DumpError, quickly and in little memory.

`python -m tests.fuzz.dump --count 200000` runs that many; a failing input is kept and its path printed. Real
dumps are mutated too when WINVM_SAMPLES names them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import struct
import tempfile
import time
from pathlib import Path

from harness.dumps.formats.reader import summarise
from harness.dumps.summary import summary_document
from harness.dumps.text import page
from harness.errors import DumpError
from tests.fakes import dump_writer as writer
from tests.fakes.unwind_image import BASE, recursion
from tests.fakes.user_dump import IMAGE, UserDump, context

SECONDS = 2.0
MEGABYTES = 200
_NUMBERS = (
    0,
    1,
    0x7F,
    0xFF,
    0xFFF,
    0x1000,
    0xFFFF,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    0x45474150,
)
_WIDE = (1 << 40, 1 << 52, 1 << 63, (1 << 64) - 1, writer.LIST_HEAD, writer.DRIVER, writer.STACK)
SAMPLES = ("wine-null-write.mdmp", "triage_x64.dmp", "unwind/d1.dmp")
_INTERESTING = 0x3000
"""Most fields that control a reader are in the first bytes."""


def seeds() -> list[bytes]:
    """Small dumps of every layout, and the real ones if WINVM_SAMPLES names them."""
    made = writer.guest()
    found = [writer.full(made), writer.bitmap(made), *(writer.ranges(made, kind) for kind in (8, 9, 10))]
    found += [
        writer.triage() + writer.secondary(),
        writer.triage(0xAA64),
        writer.minidump(0x180000000, 0x5000, 1, 0x1234),
    ]
    found += [_with_unwind_data(), _user_dump()]
    if folder := os.environ.get("WINVM_SAMPLES"):
        found += [(Path(folder) / name).read_bytes() for name in SAMPLES]
    return found


def _with_unwind_data() -> bytes:
    """A full dump whose driver has a function table, and whose stack is of its frames."""
    made = writer.guest()
    image = recursion(24)
    for at in range(0, len(image.data), writer.PAGE):
        made.write(made.map_page(writer.DRIVER + at), 0, bytes(image.data[at : at + writer.PAGE]))
    words = [struct.unpack_from("<Q", image.stack, at)[0] for at in range(0, 0x600, 8)]
    moved = [word - BASE + writer.DRIVER if word else 0 for word in words]
    made.write(made.map_page(writer.STACK), 0x100, struct.pack(f"<{len(moved)}Q", *moved))
    data = bytearray(writer.full(made))
    struct.pack_into("<Q", data, 0x348 + 0xF8, writer.DRIVER + 0x1050)
    return bytes(data)


def _user_dump() -> bytes:
    stack = struct.pack("<8Q", *(IMAGE + 0x2222 * number for number in range(8)))
    return UserDump(
        threads=[(number, context("x64", IMAGE + 0x1234, 0x10000000)) for number in (1, 2)],
        unloaded=[("gone.dll", 0x7FFB00000000, 0x8000)],
        memory64=[(0x10000000, stack)],
        codeview=b"RSDS" + bytes(20) + b"app.pdb\0",
    ).encode()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One mutation of a seed: numbers overwritten, bytes flipped, a piece copied, the end cut."""
    body = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        span = min(len(body), _INTERESTING) if chance.random() < 0.7 else len(body)
        at = chance.randrange(span)
        choice = chance.random()
        if choice < 0.4 and at + 4 <= len(body):
            at &= ~3
            struct.pack_into("<I", body, at, chance.choice((*_NUMBERS, chance.getrandbits(32))))
        elif choice < 0.65 and at + 8 <= len(body):
            at &= ~7
            struct.pack_into("<Q", body, at, chance.choice((*_WIDE, chance.getrandbits(64))))
        elif choice < 0.85:
            body[at] ^= 1 << chance.randrange(8)
        elif choice < 0.95:
            piece = body[at : at + chance.randrange(1, 64)]
            to = chance.randrange(len(body) - len(piece) + 1)
            body[to : to + len(piece)] = piece
        else:
            del body[max(1, at) :]
    return bytes(body)


def check(path: Path) -> None:
    """Summarises one dump and shows it both ways; any exception other than DumpError is a defect."""
    started = time.monotonic()
    try:
        summary = summarise(path)
        json.dumps(summary_document(summary))
        for line in page(summary):
            line.encode()
    except DumpError:
        pass
    seconds = time.monotonic() - started
    assert seconds < SECONDS, f"{seconds:.1f} s"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    inputs = seeds()
    weights = [1 if len(data) > 1 << 20 else 10 for data in inputs]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="winvm-fuzz-") as folder:
        path = Path(folder) / "mutated.dmp"
        for number in range(options.count):
            data = mutated(chance.choices(inputs, weights)[0], chance)
            path.write_bytes(data)
            try:
                check(path)
            except Exception:
                kept = Path(tempfile.mkdtemp(prefix="winvm-fuzz-")) / f"{options.seed}-{number}.dmp"
                kept.write_bytes(data)
                print(f"failed on input {number} of seed {options.seed}: {kept}")
                raise
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{options.count} mutated dumps in {time.monotonic() - started:.0f} s, {megabytes} MB at most")
    assert megabytes < MEGABYTES


if __name__ == "__main__":
    main()
