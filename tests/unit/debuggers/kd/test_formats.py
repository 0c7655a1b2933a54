"""Capture files in their variants, the serial decoder, keys and packet ids."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.file import BLOCK_LIMIT, udp_datagrams
from harness.debuggers.kd.com.framing import SerialReader, serial_bytes
from harness.debuggers.kd.ids import KdcomIds, KdnetIds
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import Datagram, Seal, data_key, response
from harness.debuggers.kd.packets import Damage, Packet, PacketType, control, encode
from harness.errors import ConfigurationError, KdError
from tests.fakes.captures import ethernet, ipv6, pcap, pcapng
from tests.fakes.kd_machine import print_string

PAYLOADS = [b"MDBG one", b"two"]
FRAMES = [ethernet(PAYLOADS[0]), b"\0" * 60, ethernet(PAYLOADS[1], vlan=True, padding=18)]
CAPTURES = {
    "pcap": pcap(FRAMES),
    "pcap-big-endian": pcap(FRAMES, order=">"),
    "pcap-nanoseconds": pcap(FRAMES, nanoseconds=True),
    "pcapng": pcapng(FRAMES),
    "pcapng-big-endian": pcapng(FRAMES, order=">"),
    "pcapng-nanoseconds": pcapng(FRAMES, resolution=9),
    "pcapng-two-sections": pcapng(FRAMES[:1]) + pcapng(FRAMES[1:], order=">"),
    "gzip": gzip.compress(pcapng(FRAMES)),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_formats(name: str, tmp_path: Path) -> None:
    file = tmp_path / "capture"
    file.write_bytes(CAPTURES[name])
    found = list(udp_datagrams(file))
    assert [(datagram.frame, datagram.payload) for datagram in found] == [(1, b"MDBG one"), (3, b"two")]
    assert {datagram.time for datagram in found} == {1.5}


def test_ipv6_without_a_link_layer(tmp_path: Path) -> None:
    (tmp_path / "capture").write_bytes(pcap([ipv6(b"six")], link=101))
    assert [datagram.payload for datagram in udp_datagrams(tmp_path / "capture")] == [b"six"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        pcap(FRAMES)[:-1],
        gzip.compress(pcap(FRAMES))[:-9],
        pcap([])[:24] + struct.pack("<IIII", 0, 0, BLOCK_LIMIT + 1, 0),
    ],
    ids=["empty", "text", "cut", "cut-gzip", "huge-frame"],
)
def test_a_file_that_is_no_whole_capture_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "capture").write_bytes(data)
    with pytest.raises(KdError):
        list(udp_datagrams(tmp_path / "capture"))


def test_decode_of_a_cut_capture_still_says_its_summary(tmp_path: Path) -> None:
    (tmp_path / "capture").write_bytes(pcap(FRAMES)[:-1])
    done = CliRunner().invoke(
        winvm, ["kd", "decode", str(tmp_path / "capture"), "--key", "1.2.3.4", "--json"]
    )
    assert json.loads(done.stdout.splitlines()[-1])["packets"] == 1
    assert isinstance(done.exception, ConfigurationError)


def test_decode_of_what_is_no_capture_says_only_that(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no capture")
    done = CliRunner().invoke(winvm, ["kd", "decode", str(tmp_path / "notes.txt"), "--key", "1.2.3.4"])
    assert done.stdout == ""
    assert isinstance(done.exception, ConfigurationError)
    assert "neither pcap nor pcapng" in str(done.exception)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_decode_of_a_serial_log(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    said = Packet(PacketType.DEBUG_IO, 0x80800800, print_string(b"hello\n"))
    again = Packet(PacketType.DEBUG_IO, 0x80800000, said.payload)
    log = (
        b"boot" + serial_bytes(said) + serial_bytes(again) + serial_bytes(control(PacketType.ACK, 1)) + b"00"
    )
    (tmp_path / "serial.log").write_bytes(pack(log))
    done = CliRunner().invoke(winvm, ["kd", "decode", "--serial", str(tmp_path / "serial.log"), "--json"])
    *lines, summary = map(json.loads, done.stdout.splitlines())
    assert [(line["kind"], line.get("text")) for line in lines] == [
        ("dbgprint", "hello\n"), ("resend", None), ("ack", None)
    ]  # fmt: skip
    assert summary["packets"] == 3


def test_key_vectors() -> None:
    assert Key.parse("8.8.8.8").control == (b"\x08" + bytes(7)) * 4
    assert Key.parse("8.8.8.8").mac == (b"\xf7" + b"\xff" * 7) * 4
    long = Key.parse("1A2B.zz.10.3w5e11264sgsf")
    assert long.control.hex() == "33e90000000000000f050000000000002400000000000000ffffffffffffffff"
    assert long.text == "1a2b.zz.10.3w5e11264sgsf"
    made = Key.generate()
    assert Key.parse(made.text) == made


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4.5", "1.2.3.", "1.2.3.3w5e11264sgsg", "1.2.3.-4", "1.2.3.٣"]
)
def test_a_wrong_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Key.parse(text)
    assert text not in refused.value.message or not text


DATA_KEY = bytes.fromhex("6bd91c57bd6a551ad30b509c05c0c95b32cc5e47a0866907eaf0b1583384f660")
NONCE = bytes.fromhex("c19792dfac7aa1dfe007010018000b00240005000000070088f7570043a12600")
HOST_RANDOM = bytes.fromhex("41b4fa1b2ddd14ee3eeb8db987c0c7257ce62eef126ab74ef212136c100c540b")
DATAGRAMS = {
    "connection-check": (
        Datagram(4, 0, 1, False, bytes(8) + bytes.fromhex("0102a8c0")),
        "2fa399cffa8f888c766d5e595a843c6dee47e25b8c9e098bd63242f627753eddfb5900eab024ca9c9c435055f1c8e7d2",
    ),
    "resend": (
        Datagram(4, 0, 1, True, encode(control(PacketType.RESEND))),
        "0c3e6d1655f7c70b5d8a875f9032af003152b7f200de2491adb391c109d86f1e94bbfcb63ea493ff1e588fdbaab8575f",
    ),
    "ack": (
        Datagram(4, 0, 2, True, encode(control(PacketType.ACK))),
        "53856c8e1086002c3276a4841d89c8ddb68eb775bd0c46538bd0b7f597f3daf8a29c3f714570f104a02535febdf9efa6",
    ),
    "break-in": (
        Datagram(4, 0, 0x107, True, b"b"),
        "fe49362fa2b8c9a8f4b99305dad909045b2192d67cc43c2504045f4ca2904bbf",
    ),
}


def test_data_key_vector() -> None:
    body = response(NONCE, HOST_RANDOM)
    assert (
        hashlib.sha256(body).hexdigest() == "eddaf87c8c2a33cdcdba8a6264546a8f1fb29cba7bfc582132c37d4ce75aadd5"
    )
    assert data_key(Key.parse("8.8.8.8"), body) == DATA_KEY


@pytest.mark.parametrize("name", DATAGRAMS)
def test_datagram_vectors(name: str) -> None:
    datagram, sealed = DATAGRAMS[name]
    seal = Seal(Key.parse("8.8.8.8"), DATA_KEY)
    assert seal.close(datagram).hex() == b"MDBG\x04\0".hex() + sealed
    assert seal.open(bytes.fromhex("4d4442470400" + sealed)) == datagram


def test_serial_examples_of_the_protocol() -> None:
    assert serial_bytes(control(PacketType.ACK, 0x80800000)).hex() == "69696969040000000000808000000000"
    assert serial_bytes(control(PacketType.RESEND)).hex() == "69696969050000000000000000000000"
    request = Packet(PacketType.STATE_MANIPULATE, 0x80800000, struct.pack("<I", 0x3146) + bytes(52))
    assert serial_bytes(request).hex() == "3030303002003800000080807700000046310000" + "00" * 52 + "aa"


def test_a_packet_after_a_cut_one_is_found() -> None:
    packet = Packet(PacketType.DEBUG_IO, 1, print_string(b"hello"))
    whole = serial_bytes(packet)
    reader = SerialReader()
    found = [one for one in reader.feed(whole[:20] + whole + whole) if not isinstance(one, Damage)]
    assert found == [packet, packet]
    assert list(reader.feed(whole[:20])) == []
    assert reader.waiting
    assert isinstance(reader.give_up(), Damage)
    assert list(reader.feed(whole)) == [packet]


def test_kdnet_ids() -> None:
    ids = KdnetIds()
    assert ids.next == 0x80000000
    ids.acknowledged()
    assert ids.next == 0x80000002
    assert [ids.accept(number) for number in (0x800, 0x800, 0x7FE, 0x802)] == [True, False, False, True]
    assert ids.answer(0x802) == 0x802
    ids.reset(0x802)
    assert not ids.accept(0x802)
    ids.reset(0)
    assert ids.accept(0)


def test_kdcom_ids() -> None:
    ids = KdcomIds()
    assert ids.answer(0x80800800) == 0x80800000
    numbers = (0x80800800, 0x80800800, 0x80800001, 0x80800001, 0x80800000)
    assert [ids.accept(number) for number in numbers] == [True, False, True, False, True]
    ids.acknowledged()
    assert ids.next == 0x80800001
    ids.reset(0x5F863)
    assert ids.next == 0x80800000
    assert ids.accept(0x80800000)
