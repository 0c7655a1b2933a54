"""The debugger as the only neighbour on a guest's network: ARP, DHCP, UDP, and nothing for anything else."""

from __future__ import annotations

import os
import random
import select
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.debuggers.kd.net.adapter import MESSAGE_LIMIT, AdapterSocket
from harness.debuggers.kd.net.neighbour import FRAME_LIMIT, MAC, PEERS, Neighbour
from tests.fakes import ethernet
from tests.fakes.ethernet import BROADCAST, GUEST_MAC, Qemu, arp_request, dhcp, packed, udp

HOST, GUEST, PORT = "10.0.3.2", "10.0.3.15", 50000
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 5, 6, 7, 8


@pytest.fixture
def neighbour() -> Neighbour:
    return Neighbour(HOST, GUEST, PORT)


def answers(neighbour: Neighbour, frame: bytes) -> list[bytes]:
    assert neighbour.receive(frame) is None
    taken, neighbour.outbox = neighbour.outbox, []
    return taken


def datagram(**changes: object) -> bytes:
    return udp(b"poke", (GUEST, 4000), (HOST, PORT), MAC, **changes)  # type: ignore[arg-type]


def test_its_own_address_is_found_by_arp_and_no_other(neighbour: Neighbour) -> None:
    (reply,) = answers(neighbour, arp_request(HOST, GUEST))
    assert (reply[:6], reply[6:12], reply[12:14]) == (GUEST_MAC, MAC, b"\x08\x06")
    assert reply[14:22] == bytes.fromhex("0001080006040002")
    assert reply[22:42] == MAC + packed(HOST) + GUEST_MAC + packed(GUEST)
    for other in ("10.0.3.1", "10.0.3.3", GUEST, "127.0.0.1", "8.8.8.8"):
        assert answers(neighbour, arp_request(other, GUEST)) == []


def test_a_datagram_for_the_port_comes_in_and_its_answer_goes_out(neighbour: Neighbour) -> None:
    assert neighbour.receive(datagram()) == (b"poke", (GUEST, 4000))
    neighbour.send(b"answer", (GUEST, 4000))
    (frame,) = neighbour.outbox
    expected = udp(b"answer", (HOST, PORT), (GUEST, 4000), GUEST_MAC)
    assert len(frame) == 60, "the shortest frame"
    assert (frame[:6], frame[6:12]) == (GUEST_MAC, MAC)
    ip = frame[14:34]
    assert ethernet.checksum(ip) == 0
    assert frame[26:34] == packed(HOST) + packed(GUEST)
    assert frame[34:48] == expected[34:48], "UDP with its checksum"


def test_nothing_is_sent_to_a_guest_that_was_not_heard(neighbour: Neighbour) -> None:
    neighbour.send(b"answer", (GUEST, 4000))
    neighbour.send(b"answer", ("no address", 4000))
    neighbour.receive(datagram())
    neighbour.send(bytes(FRAME_LIMIT), (GUEST, 4000))
    assert neighbour.outbox == []


@pytest.mark.parametrize("size", [0, 1, 41, 59, 1400, 1472])
def test_every_length_goes_through(neighbour: Neighbour, size: int) -> None:
    data = os.urandom(size)
    padded = udp(data, (GUEST, 4000), (HOST, PORT), MAC).ljust(60, b"\xaa")
    assert neighbour.receive(padded) == (data, (GUEST, 4000)), "the padding of a short frame is no data"


def test_what_is_not_for_the_debugger_is_dropped(neighbour: Neighbour) -> None:
    wrong = bytearray(datagram())
    wrong[-1] ^= 1
    header = bytearray(datagram())
    header[22] ^= 1
    tcp = bytearray(datagram())
    tcp[23] = 6
    strange = [
        udp(b"x", (GUEST, 4000), (HOST, 53), MAC),  # another port
        udp(b"x", (GUEST, 4000), ("8.8.8.8", PORT), MAC),  # another address
        udp(b"x", (GUEST, 4000), (HOST, PORT), bytes.fromhex("525400999999")),  # another station
        datagram(fragment=0x2000), datagram(fragment=1),
        bytes(wrong), bytes(header), bytes(tcp),
        MAC + GUEST_MAC + b"\x86\xdd" + bytes(60),  # IPv6
        b"", bytes(13), MAC + GUEST_MAC + b"\x08\x00", bytes(FRAME_LIMIT + 1),
    ]  # fmt: skip
    for frame in strange:
        assert answers(neighbour, frame) == []


def option(frame: bytes, number: int) -> bytes | None:
    at = 14 + 20 + 8 + 240
    while frame[at] != 0xFF:
        if frame[at] == number:
            return frame[at + 2 : at + 2 + frame[at + 1]]
        at += 2 + frame[at + 1]
    return None


def test_one_address_is_leased(neighbour: Neighbour) -> None:
    (offer,) = answers(neighbour, dhcp(DISCOVER, broadcast=True))
    assert option(offer, 53) == bytes((OFFER,))
    assert offer[:6] == BROADCAST
    assert offer[14 + 28 + 16 : 14 + 28 + 20] == packed(GUEST)
    server = option(offer, 54)
    assert server == packed(HOST)
    asking = bytes((50, 4)) + packed(GUEST) + bytes((54, 4)) + packed(HOST)
    (ack,) = answers(neighbour, dhcp(REQUEST, asking))
    assert option(ack, 53) == bytes((ACK,))
    assert ack[:6] == GUEST_MAC, "the client can take a direct answer"
    assert option(ack, 1) == packed("255.255.255.0")
    assert (option(ack, 3), option(ack, 6)) == (None, None), "no router, no name server"
    assert option(ack, 51) == b"\xff" * 4


def test_another_address_is_refused_and_another_servers_offer_left_alone(neighbour: Neighbour) -> None:
    (nak,) = answers(neighbour, dhcp(REQUEST, bytes((50, 4)) + packed("10.0.3.77")))
    assert option(nak, 53) == bytes((NAK,))
    assert answers(neighbour, dhcp(REQUEST, bytes((54, 4)) + packed("10.0.3.1"))) == []
    (renewed,) = answers(neighbour, dhcp(REQUEST, client=GUEST))
    assert option(renewed, 53) == bytes((ACK,))
    (informed,) = answers(neighbour, dhcp(INFORM, client=GUEST))
    assert option(informed, 51) is None
    assert answers(neighbour, dhcp(RELEASE)) == []


def test_hostile_frames_cost_nothing(neighbour: Neighbour) -> None:
    rng = random.Random(7)
    for number in range(300):
        source = f"10.0.3.{number % 250 + 1}"
        neighbour.receive(udp(b"x", (source, 1), (HOST, PORT), MAC))
    assert len(neighbour._macs) <= PEERS
    seeds = [datagram(), arp_request(HOST, GUEST), dhcp(DISCOVER), dhcp(REQUEST)]
    for _ in range(5000):
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        neighbour.receive(bytes(frame[: rng.randrange(len(frame) + 1)]))
        assert len(neighbour.outbox) <= 1
        neighbour.outbox.clear()


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    qemu = Qemu(tmp_path / "kdnet.sock")
    yield qemu
    qemu.close()


@pytest.fixture
def adapter(qemu: Qemu, neighbour: Neighbour) -> Iterator[AdapterSocket]:
    adapter = AdapterSocket(qemu.path, neighbour)
    adapter.fileno()
    qemu.accept()
    yield adapter
    adapter.close()


def test_frames_in_pieces_and_several_at_once(qemu: Qemu, adapter: AdapterSocket) -> None:
    frame = datagram()
    whole = struct.pack(">I", len(frame)) + frame
    adapter.settimeout(0.05)
    assert qemu.line
    for piece in (whole[:2], whole[2:5], whole[5:-1]):
        qemu.line.sendall(piece)
        with pytest.raises(TimeoutError):
            adapter.recvfrom(8192)
    qemu.line.sendall(whole[-1:] + whole + whole)
    adapter.settimeout(5.0)
    assert adapter.recvfrom(8192) == (b"poke", (GUEST, 4000))
    assert adapter.pending, "select would not say so"
    assert [adapter.recvfrom(8192)[0] for _ in range(2)] == [b"poke"] * 2
    assert not adapter.pending
    adapter.sendto(b"answer", (GUEST, 4000))
    assert qemu.receive()[:6] == GUEST_MAC


def test_arp_is_answered_while_it_waits(qemu: Qemu, adapter: AdapterSocket) -> None:
    qemu.send(arp_request(HOST, GUEST), datagram())
    assert select.select([adapter], [], [], 5.0)[0]
    adapter.settimeout(5.0)
    assert adapter.recvfrom(8192)[0] == b"poke"
    assert qemu.receive()[12:14] == b"\x08\x06"


def test_a_length_that_no_frame_has_ends_the_connection(qemu: Qemu, adapter: AdapterSocket) -> None:
    assert qemu.line
    qemu.line.sendall(struct.pack(">I", MESSAGE_LIMIT + 1))
    adapter.settimeout(0.3)
    with pytest.raises(TimeoutError):
        adapter.recvfrom(8192)
    assert qemu.line.recv(1) == b""
    qemu.accept()
    qemu.send(datagram())
    adapter.settimeout(5.0)
    assert adapter.recvfrom(8192)[0] == b"poke"


def test_a_reverted_machine_is_found_again(tmp_path: Path, neighbour: Neighbour) -> None:
    adapter = AdapterSocket(tmp_path / "kdnet.sock", neighbour)
    adapter.settimeout(0.1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            adapter.recvfrom(8192)
        adapter.sendto(b"lost", (GUEST, 4000))
        qemu = Qemu(tmp_path / "kdnet.sock")
        adapter.fileno()
        with pytest.raises(TimeoutError):
            adapter.recvfrom(8192)
        qemu.accept()
        qemu.send(datagram())
        assert adapter.recvfrom(8192)[0] == b"poke"
        qemu.close()
    adapter.close()
