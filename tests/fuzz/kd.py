"""Mutated datagrams, serial streams and captures against the kernel-debugger host.

`python -m tests.fuzz.kd --count 1000000 [--seed N]`: nothing but KdError may be raised, and memory stays
under a bound. Half of the datagrams are sealed with the right key after mutation, so that the inner parsers
are reached as well.
"""

from __future__ import annotations

import argparse
import io
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Sequence

from harness.debuggers.kd.capture.both_sides import RecordingDecoder
from harness.debuggers.kd.capture.decode import CaptureDecoder
from harness.debuggers.kd.capture.file import read_datagrams
from harness.debuggers.kd.com.framing import SerialReader, serial_bytes
from harness.debuggers.kd.host import KdHost
from harness.debuggers.kd.ids import Ids, KdnetIds
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import Datagram, Poke, Seal, data_key, response
from harness.debuggers.kd.net.relay_session import KdnetRelaySession
from harness.debuggers.kd.net.session import KdnetSession
from harness.debuggers.kd.packets import Damage, Packet, PacketType, control, encode
from harness.debuggers.kd.wire import (
    Arrival,
    Attached,
    ConnectionCheck,
    HandedOver,
    Overheard,
    TakenBack,
    WrongKey,
)
from harness.errors import KdError
from tests.fakes.captures import ethernet, pcap, pcapng
from tests.fakes.kd_machine import exception, file_request, load_symbols, printed, prompt

KEY = Key.parse("8.8.8.8")
NONCE = bytes(range(32))
RANDOM = bytes(range(100, 132))
DATA_KEY = data_key(KEY, response(NONCE, RANDOM))
MEMORY_LIMIT = 64 << 20
SOURCE = ("127.0.0.1", 50000)
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PACKETS = (
    printed("hello\n"),
    printed("*** Fatal System Error: 0x000000d1\n (0x1,0x2,0x3,0x4)\n"),
    prompt("Break, Ignore (bi)? "),
    file_request(r"\SystemRoot\a.sys"),
    load_symbols(r"\SystemRoot\ntoskrnl.exe", 0xFFFFF80100000000, 0x800000),
    exception(0x80000003),
    exception(0xC0000005, first=False),
    Packet(PacketType.STATE_MANIPULATE, 0, struct.pack("<I", 0x3146).ljust(72, b"\1")),
    Packet(PacketType.STATE_MANIPULATE, 0, struct.pack("<I", 0x3132).ljust(56 + 0x4D0, b"\1")),
    control(PacketType.ACK, 0x80000000),
    control(PacketType.RESEND),
    control(PacketType.RESET, 2),
)
POKE = Poke(NONCE, ("10.0.2.15", 50000), ("10.0.2.2", 50000), ("0.0.0.0", 0)).encode()


def mutated(source: random.Random, data: bytes) -> bytes:
    """`data` with up to eight changes: bits, numbers, cuts, insertions and repeats."""
    changed = bytearray(data)
    for _ in range(source.randrange(9)):
        at = source.randrange(len(changed) + 1)
        change = source.randrange(7)
        if change == 0 and at < len(changed):
            changed[at] ^= 1 << source.randrange(8)
        elif change == 1:
            changed[at : at + 4] = struct.pack("<I", source.choice(INTERESTING))
        elif change == 2:
            changed[at : at + 2] = struct.pack(">H", source.choice(INTERESTING) & 0xFFFF)
        elif change == 3:
            del changed[at : at + source.randrange(1, 64)]
        elif change == 4:
            changed[at:at] = source.randbytes(source.randrange(1, 64))
        elif change == 5:
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + source.randrange(1, 256)]
    return bytes(changed[:6000])


class Datagrams:
    """Datagrams for capture decoder, live session and relay, which all see every one of them."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._seals = (Seal(KEY, DATA_KEY), Seal(KEY))
        self._sequence = 0
        self._start()

    def _start(self) -> None:
        self._decoder = CaptureDecoder(KEY)
        self._session = KdnetSession(KEY, random=lambda _size: RANDOM)
        self._relay = KdnetRelaySession(KEY, "debugger")
        self._feed(self._seals[1].close(Datagram(4, 1, 3, False, POKE)))
        self._feed(self._seals[1].close(Datagram(4, 1, 3, True, response(NONCE, RANDOM))))
        self._feed(self._seals[0].close(Datagram(4, 0, 1, False, bytes(8) + b"\x01\x02\xa8\xc0")))

    def once(self) -> None:
        """One datagram."""
        self._sequence += 1
        if self._sequence % 10_000 == 0:
            self._start()
        channel = self._source.random() < 0.2
        body = self._source.choice((POKE, response(NONCE, RANDOM))) if channel else self._packet()
        inside = self._source.random() < 0.7
        from_host = self._source.random() < 0.2
        body = mutated(self._source, body) if inside else body
        sealed = self._seals[channel].close(Datagram(4, channel, self._sequence + 9, from_host, body))
        self._feed(sealed if inside and self._source.random() < 0.8 else mutated(self._source, sealed))

    def _packet(self) -> bytes:
        chosen = self._source.choice(PACKETS)
        payload = mutated(self._source, chosen.payload)[:4000]
        return encode(Packet(chosen.type, self._source.randrange(1 << 32), payload, chosen.control))

    def _feed(self, data: bytes) -> None:
        self._decoder.decode(data)
        self._session.receive(data, SOURCE)
        self._session.outbox.clear()
        self._relay.receive(data, SOURCE)
        self._relay.receive_from_debugger(data)
        if self._source.random() < 0.01:
            self._relay.take_back()
        self._relay.outbox.clear()
        self._relay.to_debugger.clear()


class SerialStreams:
    """A byte stream for the decoder and for the reader, cut at random places."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._decoder = RecordingDecoder()
        self._reader = SerialReader()

    def once(self) -> None:
        """Some bytes of the stream."""
        packet = self._source.choice(PACKETS)
        data = serial_bytes(Packet(packet.type, self._source.randrange(2), packet.payload, packet.control))
        data = mutated(self._source, data) + self._source.choice((b"", b"0000", b"boot\r\n", b"iiii"))
        for _ in self._decoder.decode(data, from_host=self._source.random() < 0.2):
            pass
        for _ in self._reader.feed(data):
            pass
        if self._reader.waiting and self._source.random() < 0.01:
            self._reader.give_up()


class Captures:
    """Capture files."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        frames = [ethernet(b"MDBG" + bytes(60))]
        self._seeds = (pcap(frames), pcapng(frames))

    def once(self) -> None:
        """One capture."""
        for _ in read_datagrams(io.BytesIO(mutated(self._source, self._source.choice(self._seeds)))):
            pass


class HostileWire:
    """A wire whose target sends random packets and sometimes acknowledges."""

    def __init__(self, source: random.Random) -> None:
        self.ids: Ids = KdnetIds()
        self.retry_s = 1e-4
        self._source = source
        self._sent: Packet | None = None

    def send(self, packet: Packet) -> None:
        """Keeps the id that may be acknowledged."""
        self._sent = packet

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """Returns random arrivals."""
        chance = self._source.random()
        if chance < 0.4 and self._sent is not None and not self._sent.control:
            return (control(PacketType.ACK, self._sent.id),)
        if chance < 0.6 and self._sent is not None and self._sent.type == PacketType.STATE_MANIPULATE:
            size = self._source.randrange(1400)
            return (self._packet(PacketType.STATE_MANIPULATE, self._sent.payload + bytes(size)),)
        if chance < 0.65:
            return (self._source.choice(_NOTICES),)
        chosen = self._source.choice(PACKETS)
        if chance < 0.75:
            packet = chosen if chosen.control else self._packet(chosen.type, chosen.payload)
            return (Overheard(packet, from_debugger=chance < 0.7),)
        if chosen.control:
            return (chosen,)
        return (self._packet(chosen.type, chosen.payload),)

    def _packet(self, packet_type: int, payload: bytes) -> Packet:
        return Packet(packet_type, self._source.randrange(1 << 32), mutated(self._source, payload)[:4000])

    def break_in(self) -> None:
        """Does nothing: the target ignores a break-in."""

    def close(self) -> None:
        """Does nothing: there is no file or socket to close."""


_NOTICES: tuple[Arrival, ...] = (
    Damage("noise"),
    ConnectionCheck(),
    Attached("here", restarted=True, same_boot=True),
    Attached("here", restarted=True, same_boot=False),
    WrongKey("there"),
    HandedOver("debugger"),
    TakenBack("debugger"),
)


class Hosts:
    """The complete live host on that wire."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._host = KdHost(HostileWire(source), lambda _event: None, patience_s=0.005)

    def once(self) -> None:
        """One step of the host."""
        if self._source.random() < 0.1:
            self._host.break_in()
        if self._host.held:
            self._host.resume()
        self._host.step(0.0)


def fuzz(count: int, seed: int) -> tuple[int, int]:
    """`count` inputs; returns how many ended in KdError, and the peak of memory in bytes.

    Raises:
        AssertionError: memory went over its bound.
    """
    source = random.Random(seed)
    # A step of the host is many packets, and may wait for a deadline: fewer of those.
    kinds: list[tuple[Callable[[], None], int]] = [
        (Datagrams(source).once, 60),
        (SerialStreams(source).once, 35),
        (Captures(source).once, 5),
    ]
    hosts = Hosts(source)
    chosen = source.choices([once for once, _ in kinds], [weight for _, weight in kinds], k=997)
    errors = 0
    for number in range(count):
        once = hosts.once if number % 1000 == 999 else chosen[number % 997]
        try:
            once()
        except KdError:
            errors += 1
        if number % 10_000 == 0 and tracemalloc.is_tracing():
            assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
    peak = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
    assert peak < MEMORY_LIMIT
    return errors, peak


def main() -> None:
    """Runs from the command line; prints the seed, so that a failure can be repeated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    tracemalloc.start()
    started = time.monotonic()
    errors, peak = fuzz(options.count, options.seed)
    seconds = time.monotonic() - started
    print(f"{options.count} inputs, {errors} refused, {seconds:.0f} s, peak {peak / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
