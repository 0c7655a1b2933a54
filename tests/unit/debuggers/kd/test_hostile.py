"""Hostile input for the kernel-debugger host, shortly; `python -m tests.fuzz.kd` does it at length."""

from __future__ import annotations

import contextlib
import io
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.debuggers.kd.bugcheck import BugcheckText
from harness.debuggers.kd.capture.decode import CaptureDecoder
from harness.debuggers.kd.capture.file import read_datagrams
from harness.debuggers.kd.com.framing import SerialReader, serial_bytes
from harness.debuggers.kd.describe import describe
from harness.debuggers.kd.net.datagram import Datagram, Seal
from harness.debuggers.kd.packets import Packet, encode, parse
from harness.errors import KdError
from tests.fuzz.kd import KEY, fuzz


def test_mutated_input_is_refused_and_memory_bounded() -> None:
    tracemalloc.start()
    try:
        errors, peak = fuzz(4000, seed=7)
    finally:
        tracemalloc.stop()
    assert errors > 0
    assert peak < 16 << 20


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    CaptureDecoder(KEY).decode(b"MDBG" + data)
    list(SerialReader().feed(data))
    for whole in (data, b"\x0a\x0d\x0d\x0a" + data, b"\xd4\xc3\xb2\xa1" + data):
        with contextlib.suppress(KdError):
            list(read_datagrams(io.BytesIO(whole)))
    BugcheckText().feed(data.decode("latin-1"))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 11), st.binary(max_size=600))
def test_any_payload_is_described(packet_type: int, payload: bytes) -> None:
    packet = Packet(packet_type, 7, payload)
    assert parse(encode(packet)) == packet
    assert describe(packet)[1]["id"] == 7


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255), st.integers(0, (1 << 56) - 1), st.booleans(), st.binary(max_size=600))
def test_what_is_sealed_opens_and_only_whole(version: int, sequence: int, host: bool, body: bytes) -> None:
    seal = Seal(KEY)
    datagram = Datagram(version, 1, sequence, host, body)
    sealed = seal.close(datagram)
    assert seal.open(sealed) == datagram
    changed = bytearray(sealed)
    changed[6 + sequence % (len(sealed) - 6)] ^= 1
    assert seal.open(bytes(changed)) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=20).filter(lambda noise: not {ord("0"), ord("i")} & set(noise)),
            st.integers(0, 0xFFFFFFFF),
            st.binary(max_size=60),
        ),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_serial_packets_are_found_between_noise(packets: list[tuple[bytes, int, bytes]], step: int) -> None:
    stream = b"".join(noise + serial_bytes(Packet(3, number, payload)) for noise, number, payload in packets)
    reader = SerialReader()
    found = [one for at in range(0, len(stream), step) for one in reader.feed(stream[at : at + step])]
    assert found == [Packet(3, number, payload) for _, number, payload in packets]
