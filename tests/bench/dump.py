"""Measures `winvm dump` as a whole process: a 1.4 MB triage dump, a sparse one of 8 GiB; and unwinding.

`python -m tests.bench.dump`. The triage dump is the real one under WINVM_SAMPLES when there is one, otherwise
one made here and filled up to the same size. Other readers of such dumps, ntoseye and kdmp-parser, read the
same files in turn with winvm, so that both have the same machine.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap
from harness.dumps.summary import Module
from harness.dumps.unwind.walk import StackWalk
from tests.bench.row import Row, spread
from tests.fakes import dump_writer as writer
from tests.fakes.unwind_image import BASE, STACK, recursion

SAMPLE = "triage_x64.dmp"
SAMPLE_SIZE = 1_444_532
ROUNDS = 9
FRAMES = 1000
EIGHT_GIBIBYTES = 8 << 30
PEAK = (
    "import resource, subprocess, sys\n"
    "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
)
"""A small process of its own: Linux counts the size of the one that forks as its child's."""
KDMP_PARSER = (
    "import sys\n"
    "from kdmp_parser import KernelDumpParser\n"
    "dump = KernelDumpParser(sys.argv[1])\n"
    "print(hex(dump.header.BugCheckCode), hex(dump.context.Rip), hex(dump.context.Rsp))\n"
)
NO_NETWORK = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
"""Nobody listens on that port: ntoseye, which asks a symbol server, is refused at once instead of waiting."""
NTOSEYE_SHARE = 1.0
"""Of ntoseye's time, what `winvm dump` may take for a triage dump; both then name bugcheck and culprit."""
KDMP_PARSER_FACTOR = 2.5


def measure() -> list[Row]:
    """Seconds of each, the median of several, and the most memory that the large one took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample, holes = _triage(folder), sparse(folder / "large.dmp")
        triage, ntoseye = _in_turn(_command(sample), _ntoseye(sample, folder))
        large, kdmp_parser = _in_turn(_command(holes), _kdmp_parser(holes))
        kilobytes = _peak(holes)
        unwound = _unwind()
    return [
        Row("Dump summary, 1.4 MB triage, whole process", 1000 * statistics.median(triage), "ms", 150,
            detail=spread(triage)),
        Row("Dump summary, 8 GiB, whole process", 1000 * statistics.median(large), "ms", 150,
            detail=spread(large)),
        Row("Dump summary, 8 GiB, memory", kilobytes / 1024, "MB", 60),
        *_peer("Dump summary, triage, share of ntoseye's time", triage, ntoseye, NTOSEYE_SHARE),
        *_peer("Dump summary, 8 GiB, times faster than kdmp-parser", kdmp_parser, large, KDMP_PARSER_FACTOR,
            at_least=True),
        Row("Unwinding 1,000 frames of x64", 1000 * statistics.median(unwound), "ms", 50,
            detail=spread(unwound)),
    ]  # fmt: skip


def _triage(folder: Path) -> Path:
    samples = os.environ.get("WINVM_SAMPLES")
    if samples and (Path(samples) / SAMPLE).is_file():
        return Path(samples) / SAMPLE
    return writer.write(folder, writer.triage().ljust(SAMPLE_SIZE, b"\0"))


def sparse(path: Path) -> Path:
    """A bitmap dump with all pages of 8 GiB present, of which only the guest's few are not a hole."""
    made = writer.guest()
    bits = EIGHT_GIBIBYTES // 0x1000
    first = 0x2000 + 0x38 + bits // 8
    with path.open("wb") as file:
        file.write(writer.header(5, made))
        file.write(b"FDMPDUMP" + bytes(24) + struct.pack("<QQQ", first, bits, bits) + b"\xff" * (bits // 8))
        for pfn, page in made.pages.items():
            file.seek(first + pfn * 0x1000)
            file.write(page)
        file.truncate(first + EIGHT_GIBIBYTES)
    return path


def _unwind() -> list[float]:
    """Seconds to unwind a recursion of 1,000 calls, of four functions in turn."""
    image = recursion(FRAMES)
    seconds = []
    for _ in range(ROUNDS):
        module = Module("made.sys", "made.sys", BASE, len(image.data))
        walk = StackWalk(AddressMap([module], [], image), image, cpu.X64)
        started = time.perf_counter()
        frames = walk.walk({"rip": BASE + 0x1050, "rsp": STACK})
        seconds.append(time.perf_counter() - started)
        assert sum(frame.exact for frame in frames) == FRAMES
    return seconds


def _peer(
    what: str, above: list[float], below: list[float], target: float, *, at_least: bool = False
) -> list[Row]:
    """The ratio of two medians; no row where the peer is not installed."""
    if not above or not below:
        return []
    ratio = statistics.median(above) / statistics.median(below)
    seen = {"above": spread(above), "below": spread(below)}
    return [Row(what, ratio, "x", target, at_least=at_least, detail=seen)]


def _in_turn(*commands: list[str]) -> list[list[float]]:
    """Seconds of each round of each command, one after another; the first round is not counted."""
    seconds: list[list[float]] = [[] for _ in commands]
    for counted in [False, *[True] * ROUNDS]:
        for command, taken in zip(commands, seconds, strict=True):
            if not command:
                continue
            started = time.perf_counter()
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | NO_NETWORK,
                check=True,
            )
            if counted:
                taken.append(time.perf_counter() - started)
    return seconds


def _ntoseye(dump: Path, home: Path) -> list[str]:
    """Its analysis of a dump; nothing where it is not installed. `home` is where it may keep symbols."""
    program = Path(sys.executable).with_name("ntoseye")
    analysis = [str(program), "--dump", str(dump), "--batch", "-c", "!analyze -v"]
    return ["env", f"HOME={home}", *analysis] if program.exists() else []


def _kdmp_parser(dump: Path) -> list[str]:
    if importlib.util.find_spec("kdmp_parser") is None:
        return []
    return [sys.executable, "-c", KDMP_PARSER, str(dump)]


def _peak(dump: Path) -> int:
    """The peak resident size in KiB."""
    command = [sys.executable, "-c", PEAK, *_command(dump)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _command(dump: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("winvm")), "dump", str(dump), "--json"]


if __name__ == "__main__":
    rows = measure()
    for row in rows:
        print("  ".join(row.cells))
    sys.exit(0 if all(row.met for row in rows) else 1)
