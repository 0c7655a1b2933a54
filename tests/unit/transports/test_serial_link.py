"""Frames and the reliable link over them, on lines that lose, alter and insert bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.transports.serial_frames import (
    ACK,
    DATA,
    MARK,
    NAK,
    OVERHEAD,
    PAYLOAD_LIMIT,
    RESET,
    Frame,
    FrameReader,
)
from harness.transports.serial_link import ACK_DELAY_S, QUEUE_LIMIT, WINDOW, SerialLink
from tests.fakes.serial_wire import Damage
from tests.fuzz.serial_line import fuzz


class Clock:
    now = 0.0


def converse(
    host: SerialLink, guest: SerialLink, inward: Damage, outward: Damage, seconds: float = 600.0
) -> tuple[list[bytes], list[bytes]]:
    """Moves bytes, with a clock that goes on by itself, until both ends have nothing left to say."""
    to_guest: list[bytes] = []
    to_host: list[bytes] = []
    now = 0.0
    while now < seconds:
        if not host.open:
            host.begin()
        to_guest += guest.receive(inward(host.transmit(now)), now)
        to_host += host.receive(outward(guest.transmit(now)), now)
        if host.open and host.idle and guest.idle:
            return to_guest, to_host
        now += 0.05
    raise AssertionError(f"not idle after {seconds} s: {len(to_guest)} and {len(to_host)} messages arrived")


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads: list[bytes], cut: int) -> None:
    frames = [Frame(DATA, 7, number, 9, payload) for number, payload in enumerate(payloads)]
    stream = b"".join(frame.encode() for frame in frames)
    reader = FrameReader()
    found = [frame for at in range(0, len(stream), cut) for frame in reader.feed(stream[at : at + cut])]
    assert found == frames
    assert (reader.damaged, reader.skipped) == (0, 0)


@given(st.lists(st.binary(max_size=5000).map(lambda data: data[:PAYLOAD_LIMIT]), min_size=1, max_size=6))
def test_a_port_that_gives_what_is_wanted_waits_for_no_byte_behind_a_frame(payloads: list[bytes]) -> None:
    frames = [Frame(DATA, 7, number, 9, payload) for number, payload in enumerate(payloads)]
    reader = FrameReader()
    found: list[Frame] = []
    for number, frame in enumerate(frames, 1):
        left = frame.encode()
        while left:
            wanted = reader.wanted
            assert 0 < wanted <= len(left)
            found += reader.feed(left[:wanted])
            left = left[wanted:]
        assert found == frames[:number]


@given(st.binary(max_size=6000))
def test_what_is_wanted_is_bounded_whatever_arrived(data: bytes) -> None:
    reader = FrameReader()
    list(reader.feed(data))
    assert 0 < reader.wanted <= OVERHEAD + PAYLOAD_LIMIT + 4


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 10_000))
def test_a_frame_is_found_after_any_garbage(garbage: bytes, payload: bytes, flip: int) -> None:
    reader = FrameReader()
    damaged = bytearray(Frame(DATA, 1, 1, 1, payload + b"x").encode())
    damaged[flip % len(damaged)] ^= 0x10
    last = Frame(DATA, 1, 2, 3, payload)
    # A mark in the garbage may hold back what follows it, at most a header and a payload's worth.
    padding = bytes(OVERHEAD + PAYLOAD_LIMIT + 4)
    found = list(reader.feed(garbage + bytes(damaged) + last.encode() + padding))
    assert last in found
    assert all(frame == last for frame in found if frame.session == 1 and frame.sequence != 1)


def test_an_altered_length_is_not_waited_for() -> None:
    frame = bytearray(Frame(DATA, 1, 1, 1, b"payload").encode())
    frame[10] = 0xFF  # the length's low byte
    reader = FrameReader()
    assert [found.sequence for found in reader.feed(bytes(frame) + Frame(ACK, 1, 5, 5).encode())] == [5]


@given(st.binary(max_size=20_000))
def test_no_input_makes_the_reader_keep_more_than_a_frame(data: bytes) -> None:
    reader = FrameReader()
    for at in range(0, len(data), 512):
        list(reader.feed(data[at : at + 512]))
        assert reader.kept <= OVERHEAD + PAYLOAD_LIMIT + 4


def test_a_payload_too_long_for_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Frame(DATA, 1, 1, 1, bytes(PAYLOAD_LIMIT + 1)).encode()


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.05])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_message_arrives_once_and_in_order(rate: float, seed: int) -> None:
    source = random.Random(seed)
    host, guest = SerialLink(session=77), SerialLink()
    downward = [source.randbytes(source.randint(1, 1500)) for _ in range(60)]
    upward = [source.randbytes(source.randint(1, 1500)) for _ in range(60)]
    host.begin()
    for number in range(60):
        host.send(downward[number])
        guest.send(upward[number]) if guest.open else None
    inward, outward = Damage(rate, seed), Damage(rate, seed + 100)
    received, _ = converse(host, guest, inward, outward)
    for one in upward:
        guest.send(one)
    _, answered = converse(host, guest, inward, outward)
    assert received == downward
    assert answered == upward
    assert (host.repeated + guest.repeated > 0) == bool(inward.touched + outward.touched) or not rate


def test_a_burst_larger_than_the_window_waits_for_acknowledgements() -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    for number in range(WINDOW * 3):
        host.send(bytes([number]) * 100)
    sent = host.transmit(0.0)
    assert len(list(FrameReader().feed(sent))) == WINDOW
    assert host.transmit(0.0) == b""
    assert list(guest.receive(sent, 0.0)) == [bytes([number]) * 100 for number in range(WINDOW)]


def test_an_acknowledgement_travels_with_the_answer_or_goes_alone_after_a_while() -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    host.send(b"asked")
    assert list(guest.receive(host.transmit(10.0), 10.0)) == [b"asked"]
    assert guest.transmit(10.0) == b""
    wait = guest.wait(10.0)
    assert wait == pytest.approx(ACK_DELAY_S)
    guest.send(b"answered")
    (frame,) = FrameReader().feed(guest.transmit(10.01))
    assert (frame.kind, frame.payload) == (DATA, b"answered")
    assert list(host.receive(frame.encode(), 10.02)) == [b"answered"]
    assert host.idle
    assert host.transmit(10.02) == b""
    (alone,) = FrameReader().feed(host.transmit(10.03 + ACK_DELAY_S))
    assert alone.kind == ACK
    list(guest.receive(alone.encode(), 10.1))
    assert guest.idle
    assert (guest.wait(10.1), host.wait(10.1)) == (None, None)


def test_a_repeated_frame_is_acknowledged_at_once() -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    host.send(b"once")
    sent = host.transmit(10.0)
    assert list(guest.receive(sent, 10.0)) == [b"once"]
    assert list(guest.receive(sent, 10.0)) == []
    (frame,) = FrameReader().feed(guest.transmit(10.0))
    assert frame.kind == ACK


def test_a_full_queue_says_so() -> None:
    host = SerialLink(session=5)
    assert not host.full
    for _ in range(QUEUE_LIMIT):
        host.send(b"x")
    assert host.full


def test_what_is_lost_at_the_end_is_repeated_after_a_while() -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    host.send(b"lost")
    host.transmit(10.0)
    assert host.transmit(10.1) == b""
    wait = host.wait(10.1)
    assert wait is not None
    assert list(guest.receive(host.transmit(10.1 + wait), 11.0)) == [b"lost"]


@pytest.mark.parametrize("bytes_a_second", [60_000, 20_000, 10_000])
def test_a_slow_line_is_not_filled_with_repetitions(bytes_a_second: int) -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    sent, step = 0, 0.05
    on_the_way, arrived, now = bytearray(), 0, 0.0
    while arrived < 100:
        while sent < 100 and not host.full:
            host.send(bytes(4000))
            sent += 1
        on_the_way += host.transmit(now)
        passed = int(bytes_a_second * step)
        arrived += len(list(guest.receive(bytes(on_the_way[:passed]), now)))
        del on_the_way[:passed]
        list(host.receive(guest.transmit(now), now))
        now += step
        assert now < 100 * 4100 / bytes_a_second * 1.5
    assert host.repeated <= 3 * WINDOW


def test_a_gap_is_asked_for_once() -> None:
    host, guest = SerialLink(session=5), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    frames = [Frame(DATA, 5, number, 0, b"x").encode() for number in range(3)]
    assert list(guest.receive(frames[1] + frames[2], 0.0)) == []
    asked = [frame.kind for frame in FrameReader().feed(guest.transmit(0.0))]
    assert asked.count(NAK) == 1


def test_a_new_session_drops_what_the_old_one_had_under_way() -> None:
    guest = SerialLink()
    old = SerialLink(session=1)
    converse(old, guest, Damage(0), Damage(0))
    guest.send(b"for the old host")
    guest.transmit(0.0)
    new = SerialLink(session=2)
    received, answered = converse(new, guest, Damage(0), Damage(0))
    assert (received, answered) == ([], [])
    assert guest.sessions == 2
    late = Frame(DATA, 1, 0, 0, b"from the old host").encode()
    assert list(guest.receive(late, 0.0)) == []


def test_a_guest_cannot_reset_the_host() -> None:
    host, guest = SerialLink(session=3), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    list(host.receive(Frame(RESET, 9).encode(), 0.0))
    assert (host.session, host.open) == (3, True)


def test_acknowledgements_of_what_was_never_sent_are_ignored() -> None:
    host, guest = SerialLink(session=3), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    host.send(b"one")
    host.transmit(0.0)
    list(host.receive(Frame(ACK, 3, 0, 5000).encode() + Frame(NAK, 3, 0, 40_000).encode(), 0.0))
    assert not host.idle


def test_sequence_numbers_wrap() -> None:
    host, guest = SerialLink(session=3), SerialLink()
    converse(host, guest, Damage(0), Damage(0))
    count = (1 << 16) + 20
    arrived = 0
    for number in range(count):
        host.send(MARK)
        if number % WINDOW == WINDOW - 1 or number == count - 1:
            arrived += len(list(guest.receive(host.transmit(0.0), 0.0)))
            list(host.receive(guest.transmit(ACK_DELAY_S), 0.0))
    assert arrived == count
    assert host.idle


def test_hostile_bytes_for_a_short_while() -> None:
    assert fuzz(3000, seed=12) > 100


def test_a_line_is_due_at_once_while_it_has_something_to_write() -> None:
    host, guest = SerialLink(7), SerialLink()
    assert guest.wait(0.0) is None
    host.begin()
    assert host.wait(0.0) == 0.0
    list(guest.receive(host.transmit(0.0), 0.0))
    assert guest.wait(0.0) == 0.0, "the answer to RESET"
    list(host.receive(guest.transmit(0.0), 0.0))
    assert host.wait(0.0) is guest.wait(0.0) is None
    for _ in range(WINDOW + 1):
        host.send(b"m")
    assert host.wait(0.0) == 0.0
    host.transmit(0.0)
    waiting = host.wait(0.0)
    assert waiting and waiting > 0.0, "the window is full: only an acknowledgement or the alarm helps"
