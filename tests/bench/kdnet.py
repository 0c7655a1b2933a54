"""Measures kernel debugging: packets decoded, DbgPrint lines through the live host, idle load, a bugcheck.

`python -m tests.bench.kdnet`. The capture is the real one under WINVM_SAMPLES when there is one, otherwise
datagrams of the same sizes. The target runs in a process of its own with its datagrams made before, so that
the host alone is measured.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.decode import CaptureDecoder
from harness.debuggers.kd.capture.file import udp_datagrams
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import Datagram, Poke, Seal, data_key, response
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.packets import Packet, PacketType, encode
from harness.debuggers.kd.stream import KdDebugStream
from tests.bench.row import Row, spread
from tests.fakes.captures import ethernet, pcap
from tests.fakes.kd_machine import print_string
from tests.fakes.kd_slow_line import bugcheck_on_slow_line

KEY = Key.parse("8.8.8.8")
SAMPLE = "kdnet-win10-10586-bootdebug.pcapng.gz"
LINES = 30_000
LIVE_ROUNDS = 3
LIVE_TARGET = 10_000
ACK_SIZE = 54
IDLE_S = 5.0
BAUD, REPORT_S = 115_200, 2.0
DECODE_TARGET = 20_000
NO_TSHARK = (
    "not beside tshark: Debian's has no KDNET dissector, and the Lua module that one needs is no package"
)


def measure(idle_s: float = IDLE_S) -> list[Row]:
    """Every row of kernel debugging."""
    return [*_decode(), *_live(), _idle(idle_s), _serial_bugcheck()]


def _decode() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        capture = _capture(Path(folder))
        payloads = [datagram.payload for datagram in udp_datagrams(capture)]
        rounds = 20_000 // len(payloads) + 1
        used = time.process_time()
        for _ in range(rounds):
            decoder = CaptureDecoder(KEY)
            for payload in payloads:
                decoder.decode(payload)
        alone = rounds * len(payloads) / (time.process_time() - used)
        many = Path(folder) / "many.pcap"
        many.write_bytes(pcap([ethernet(payload) for payload in payloads] * rounds))
        used = time.process_time()
        done = CliRunner().invoke(winvm, ["kd", "decode", str(many), "--key", "8.8.8.8", "--json"])
        whole = rounds * len(payloads) / (time.process_time() - used)
        assert json.loads(done.stdout.splitlines()[-1])["packets"] == rounds * len(payloads)
    return [
        Row(
            "KDNET decode, capture file to JSON, one core", whole, "packets/s", DECODE_TARGET, True, NO_TSHARK
        ),
        Row("... decoder alone", alone, "packets/s", DECODE_TARGET, at_least=True),
    ]


def _serial_bugcheck() -> Row:
    """Seconds from a kernel's halt in a bugcheck to its report, on a line of 11,520 bytes a second."""
    seconds = []
    for _ in range(LIVE_ROUNDS):
        halted, found, chain = bugcheck_on_slow_line(BAUD)
        assert found.report
        assert [frame.place.address for frame in found.report.stack[1:]] == chain
        seconds.append(found.time - halted.time)
    what = f"Bugcheck reported over serial, {BAUD:,} baud, 11 frames"
    return Row(what, statistics.median(seconds), "s", REPORT_S, detail=spread(seconds))


def _capture(folder: Path) -> Path:
    samples = os.environ.get("WINVM_SAMPLES")
    if samples and (Path(samples) / SAMPLE).is_file():
        return Path(samples) / SAMPLE
    datagrams = _session(bytes(32), bytes(32), 1000)
    made = folder / "made.pcap.gz"
    made.write_bytes(gzip.compress(pcap([ethernet(datagram) for datagram in datagrams])))
    return made


def _session(nonce: bytes, random: bytes, lines: int) -> list[bytes]:
    """A response and then prints, as datagrams."""
    body = response(nonce, random)
    seal = Seal(KEY, data_key(KEY, body))
    prints = (
        Packet(PacketType.DEBUG_IO, 2 * number, print_string(b"a line of some length, number %6d\n" % number))
        for number in range(lines)
    )
    return [
        Seal(KEY).close(Datagram(5, 1, 3, True, body)),
        *(seal.close(Datagram(5, 0, 2 + n, False, encode(p))) for n, p in enumerate(prints)),
    ]


def _live() -> list[Row]:
    """Lines per second through the whole debug stream, the log file included.

    Wall-clock time includes the target's answers and other load on the host; processor time is winvm's alone.
    """
    measured = [_live_seconds() for _ in range(LIVE_ROUNDS)]
    rounds, alone = ([LINES / seconds for seconds in column] for column in zip(*measured, strict=True))
    note = f"best of {LIVE_ROUNDS} times {LINES} lines, each acknowledged before the next; not one lost"
    detail = spread(rounds)
    return [
        Row("DbgPrint through the live host", max(rounds), "lines/s", LIVE_TARGET, True, note, detail),
        Row("... per second of its processor time", max(alone), "lines/s", LIVE_TARGET, at_least=True),
    ]


def _live_seconds() -> tuple[float, float]:
    """Wall-clock and processor seconds for all lines; fails if a line is missing."""
    wire = KdnetWire(KEY, 0)
    ours, theirs = multiprocessing.Pipe()
    target = multiprocessing.get_context("spawn").Process(target=_print_lines, args=(wire.port, theirs))
    with tempfile.TemporaryDirectory() as folder:
        stream = KdDebugStream(wire, Path(folder) / "dbgprint.log", "bench")
        target.start()
        used = time.process_time()
        seconds: float = ours.recv()
        used = time.process_time() - used
        target.join()
        stream.close()
        lines = (Path(folder) / "dbgprint.log").read_text().splitlines()
    printed = [line.rpartition(" ")[2] for line in lines if " dbgprint " in line]
    assert [int(number) for number in printed] == list(range(LINES))
    return seconds, used


def _print_lines(port: int, result: Connection) -> None:
    """The target: connects, then sends each line when the one before is acknowledged."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(("127.0.0.1", port))
        line.settimeout(1.0)
        nonce = bytes(32)
        poke = Poke(nonce, ("10.0.2.15", 50000), ("10.0.2.2", 50000), ("0.0.0.0", 0))
        line.send(Seal(KEY).close(Datagram(5, 1, 3, False, poke.encode())))
        answer = Seal(KEY).open(line.recv(8192))
        assert answer is not None
        _, *prints = _session(nonce, answer.body[34:66], LINES)
        started = time.perf_counter()
        for datagram in prints:
            line.send(datagram)
            while True:
                try:
                    if len(line.recv(8192)) == ACK_SIZE:
                        break
                except TimeoutError:
                    line.send(datagram)
        result.send(time.perf_counter() - started)


def _idle(seconds: float) -> Row:
    """Load of a host whose target is connected and silent, with a poke every three seconds."""
    with tempfile.TemporaryDirectory() as folder:
        wire = KdnetWire(KEY, 0)
        stream = KdDebugStream(wire, Path(folder) / "dbgprint.log", "bench")
        before = resource.getrusage(resource.RUSAGE_SELF)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            poke = Poke(bytes(32), ("10.0.2.15", 50000), ("10.0.2.2", 50000), ("0.0.0.0", 0))
            until = time.monotonic() + seconds
            for number in range(int(seconds / 3) + 1):
                datagram = Datagram(5, 1, 3 * number, False, poke.encode())
                line.sendto(Seal(KEY).close(datagram), ("127.0.0.1", wire.port))
                time.sleep(min(3.0, max(0.0, until - time.monotonic())))
        after = resource.getrusage(resource.RUSAGE_SELF)
        stream.close()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Row("Kernel-debugger host, idle", 100 * used / seconds, "% of a core", 2.0)


if __name__ == "__main__":
    rows = measure()
    for row in rows:
        print("  ".join(row.cells))
    sys.exit(0 if all(row.met for row in rows) else 1)
