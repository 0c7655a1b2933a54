"""KDNET captures of every link type: what is decoded, and the note when nothing can be."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.file import udp_datagrams
from harness.errors import ConfigurationError
from tests.fakes.captures import ethernet, ipv4, ipv6, pcap, pcapng, sll, sll2

POKE = b"MDBG" + bytes(60)
HOP_BY_HOP = (0, bytes((0, 1, 4, 0, 0, 0, 0)))
ROUTING = (43, bytes((1, 0)) + bytes(13))
DESTINATION = (60, bytes((0, 1, 4, 0, 0, 0, 0)))
AUTHENTICATION = (51, bytes((4,)) + bytes(22))
WHOLE = (44, bytes(7))
FRAGMENT = (44, bytes((0, 0, 9)) + bytes(4))

READABLE: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "raw IP by its number on some systems": (12, ipv4),
    "IPv4 alone": (228, ipv4),
    "IPv6 alone": (229, ipv6),
    "Linux interface": (113, sll),
    "Linux interface, version 2": (276, sll2),
    "loopback": (0, lambda payload: bytes(4) + ipv4(payload)),
    "frame check sequence": (1 | 0x14000000, lambda payload: ethernet(payload, padding=4)),
    "old VLAN tag": (1, lambda payload: ethernet(payload, tags=(0x9100,))),
    "two VLAN tags": (1, lambda payload: ethernet(payload, tags=(0x88A8, 0x8100))),
    "two old VLAN tags": (1, lambda payload: ethernet(payload, tags=(0x9200, 0x9100))),
    "hop-by-hop options": (101, lambda payload: ipv6(payload, [HOP_BY_HOP])),
    "every extension": (
        101, lambda payload: ipv6(payload, [HOP_BY_HOP, ROUTING, WHOLE, AUTHENTICATION, DESTINATION])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_a_datagram_is_found_in_it(tmp_path: Path, name: str) -> None:
    link, frame = READABLE[name]
    (tmp_path / "capture").write_bytes(pcap([frame(b"one"), frame(b"two")], link=link))
    assert [datagram.payload for datagram in udp_datagrams(tmp_path / "capture")] == [b"one", b"two"]


def warnings(file: Path, data: bytes) -> list[str]:
    file.write_bytes(data)
    done = CliRunner().invoke(winvm, ["kd", "decode", str(file), "--key", "1.2.3.4", "--json"])
    assert isinstance(done.exception, ConfigurationError)  # nothing was decoded
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told: list[str] = summary["warnings"]
    return told


@pytest.mark.parametrize(("snap", "cut"), [(20, 3), (40, 3), (96, 2)])
def test_a_capture_that_was_cut_says_so(tmp_path: Path, snap: int, cut: int) -> None:
    frames = [ethernet(POKE), ethernet(POKE + bytes(200)), ethernet(b"")]
    (told,) = warnings(tmp_path / "capture", pcap(frames, snap=snap))
    assert told.startswith(f"{cut} of 3 frames were cut by the capture's snap length")


def test_a_pcapng_that_was_cut_says_so(tmp_path: Path) -> None:
    data = pcapng([ethernet(POKE)])
    size = struct.pack("<II", len(ethernet(POKE)), len(ethernet(POKE)))
    assert data.count(size) == 1
    cut = data.replace(size, struct.pack("<II", 60, len(ethernet(POKE))))
    (told,) = warnings(tmp_path / "capture", cut)
    assert told.startswith("1 of 1 frames were cut")


def test_a_strange_link_type_is_named(tmp_path: Path) -> None:
    (told,) = warnings(tmp_path / "capture", pcap([ethernet(POKE)] * 2, link=147))
    assert told == "2 frames have the link type 147, which is not supported"


@pytest.mark.parametrize(
    "frame", [ipv4(POKE, fragment=0x2000), ipv4(POKE, fragment=3), ipv6(POKE, [FRAGMENT])]
)
def test_fragments_are_counted(tmp_path: Path, frame: bytes) -> None:
    (told,) = warnings(tmp_path / "capture", pcap([frame], link=101))
    assert told.startswith("1 IP fragments")


def test_a_capture_without_frames_says_so(tmp_path: Path) -> None:
    assert warnings(tmp_path / "capture", pcap([])) == ["the capture holds no frames"]


def test_a_capture_of_something_else_says_so(tmp_path: Path) -> None:
    told = warnings(tmp_path / "capture", pcap([ethernet(b"a name query"), bytes(60)]))
    assert told == ["none of 2 frames is a KDNET datagram"]


@pytest.mark.parametrize(
    ("options", "data", "why"),
    [
        (("--key", "1.2.3.4"), pcap([]), "no datagram of the kernel debugger's network protocol"),
        (("--key", "1.2.3.4"), pcap([ethernet(b"a name query")]), "network protocol"),
        (("--serial",), b"a boot loader's text", "no packet of the kernel debugger's serial protocol"),
        (("--serial",), b"0000\x03\0\x00\xff" + bytes(100), "serial protocol"),
    ],
    ids=["no frames", "other datagrams", "text", "damaged packet"],
)
def test_a_file_with_nothing_to_decode_is_bad_input(
    tmp_path: Path, options: tuple[str, ...], data: bytes, why: str
) -> None:
    file = tmp_path / "capture"
    file.write_bytes(data)
    done = CliRunner().invoke(winvm, ["kd", "decode", str(file), *options])
    assert isinstance(done.exception, ConfigurationError)
    assert why in done.exception.message
    assert done.exception.remedy


def test_extension_headers_do_not_go_on_for_ever(tmp_path: Path) -> None:
    endless = ipv6(POKE, [HOP_BY_HOP] * 5000)
    (tmp_path / "capture").write_bytes(pcap([endless, ipv6(b"short", [(0, b"\xff" + bytes(6))])], link=101))
    assert list(udp_datagrams(tmp_path / "capture")) == []
