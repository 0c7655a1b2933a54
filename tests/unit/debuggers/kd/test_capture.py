"""The real capture: every golden value of it, through the decoder, the command and the fake target."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections import Counter, deque
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.decode import CaptureDecoder
from harness.debuggers.kd.capture.file import UdpDatagram, read_datagrams, udp_datagrams
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.manipulate import Manipulate, Version
from harness.debuggers.kd.net.datagram import Datagram, Poke, Seal, data_key, is_connection_check, is_response
from harness.debuggers.kd.packets import Packet, PacketType, encode, parse
from harness.errors import KdError
from tests.fakes.kd_target import KdnetTarget

NAME = "kdnet-win10-10586-bootdebug.pcapng.gz"
KEY = Key.parse("8.8.8.8")
NONCE = bytes.fromhex("c19792dfac7aa1dfe007010018000b00240005000000070088f7570043a12600")
DATA_KEY = bytes.fromhex("6bd91c57bd6a551ad30b509c05c0c95b32cc5e47a0866907eaf0b1583384f660")


@pytest.fixture(scope="module")
def frames(samples: Path) -> list[UdpDatagram]:
    return list(udp_datagrams(samples / NAME))


@pytest.fixture(scope="module")
def opened(frames: list[UdpDatagram]) -> list[Datagram]:
    seals = {0: Seal(KEY, DATA_KEY), 1: Seal(KEY)}
    datagrams = [seals[frame.payload[5]].open(frame.payload) for frame in frames]
    assert None not in datagrams
    return [datagram for datagram in datagrams if datagram is not None]


def test_every_datagram_is_authentic_and_encodes_to_the_same_bytes(
    frames: list[UdpDatagram], opened: list[Datagram]
) -> None:
    assert len(frames) == 955
    seals = {0: Seal(KEY, DATA_KEY), 1: Seal(KEY)}
    for frame, datagram in zip(frames, opened, strict=True):
        assert seals[datagram.channel].close(datagram) == frame.payload
    bodies = hashlib.sha256(b"".join(datagram.body for datagram in opened)).hexdigest()
    assert bodies == "ed484c179e7807ac49c6f124d6b191e4d7a35ab6fe1449e4069a9a34ab0a3977"
    data = hashlib.sha256(b"".join(d.body for d in opened if d.channel == 0)).hexdigest()
    assert data == "606c03e00b9153f6e16e8cd438884104b2e7b27cc8e0f33f51b153e8a859fd6a"


def test_the_data_key_follows_from_the_response(opened: list[Datagram]) -> None:
    assert is_response(opened[1])
    assert data_key(KEY, opened[1].body) == DATA_KEY


def test_pokes_and_packets_encode_to_the_same_bytes(opened: list[Datagram]) -> None:
    pokes = 0
    for datagram in opened:
        if datagram.channel and (poke := Poke.parse(datagram.body)):
            assert poke.encode() == datagram.body
            pokes += 1
        elif not datagram.channel and not is_connection_check(datagram.body):
            assert encode(parse(datagram.body)) == datagram.body
    assert pokes == 427
    first = Poke.parse(opened[0].body)
    assert first == Poke(NONCE, ("192.168.2.72", 51111), ("192.168.2.1", 51111), ("0.0.0.0", 0))
    late = Poke.parse(opened[515].body)
    assert late is not None
    assert late.connected == ("192.168.2.1", 51111)


def test_counts_by_direction_and_type(opened: list[Datagram]) -> None:
    counts: Counter[tuple[bool, int]] = Counter()
    for datagram in opened:
        if not datagram.channel and not is_connection_check(datagram.body):
            counts[datagram.from_host, parse(datagram.body).type] += 1
    target = {3: 7, 7: 3, 2: 92, 11: 33, 4: 127, 5: 1, 6: 1}
    host = {2: 95, 11: 33, 4: 132, 5: 1}
    assert {kind: count for (from_host, kind), count in counts.items() if not from_host} == target
    assert {kind: count for (from_host, kind), count in counts.items() if from_host} == host | {6: 1}


def test_the_version_reply(opened: list[Datagram]) -> None:
    reply = Manipulate.parse(parse(opened[11].body).payload)
    version = Version.parse(reply)
    assert version == Version(True, 10586, 0x8664, 0x96F000, 0xAD5E60, 0)


def decode(*arguments: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(winvm, ["kd", "decode", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_decode_prints_six_messages_and_the_halts(samples: Path) -> None:
    *lines, summary = decode(str(samples / NAME), "--key", "8.8.8.8")
    by_frame = {line["frame"]: line for line in lines}
    assert len(by_frame) == 955
    prints = [line for line in lines if line["kind"] == "dbgprint"]
    assert [(line["frame"], line["id"]) for line in prints] == [
        (4, 0), (256, 0x7C), (262, 0x80), (372, 0xB8), (374, 0xBA), (376, 0xBC)
    ]  # fmt: skip
    assert prints[0]["text"] == "BD: Boot Debugger Initialized\n"
    assert prints[5]["text"] == (
        "\n*** Fatal Error 0x00000001 :\n                (0x0000000000000001, 0xFFFFF8017BC91A70, "
        "0xFFFFF8017BC94540, 0xFFFFFFFFC0430007)\n\n"
    )
    repeats = {line["frame"]: line["repeats"] for line in lines if line.get("repeats")}
    assert repeats == {6: "dbgprint", 199: "manipulate", 204: "manipulate"}
    loaded = by_frame[8]
    assert (loaded["kind"], loaded["path"]) == ("load-symbols", "winload.efi")
    assert (loaded["base"], loaded["size"]) == (0x96F000, 0x17D000)
    raised = by_frame[378]
    assert (raised["kind"], raised["code"], raised["address"]) == ("exception", 0x80000003, 0x9CF07D)
    assert (raised["first_chance"], raised["pc"], raised["parameters"]) == (True, 0x9CF07E, [0])
    left = by_frame[952]
    assert (left["kind"], left["base"], left["path"]) == ("unload-symbols", 0xFFFFFFFFFFFFFFFF, "")
    wanted = by_frame[236]
    assert (wanted["kind"], wanted["path"]) == ("file-io", r"\Windows\system32\en-GB\winload.efi.MUI")
    assert by_frame[238]["status"] == 0xC000000F
    assert summary == {
        "kind": "summary",
        "packets": 955,
        "bad_mac": 0,
        "undecodable": 0,
        "by_kind": {
            "control": 429,
            "dbgprint": 6,
            "resend": 5,
            "ack": 259,
            "load-symbols": 1,
            "manipulate": 185,
            "reset": 2,
            "file-io": 66,
            "exception": 1,
            "unload-symbols": 1,
        },
        "malformed": 0,
        "session_keys": 1,
        "warnings": [],
    }


def test_a_capture_joined_in_mid_session_is_counted(frames: list[UdpDatagram]) -> None:
    decoder = CaptureDecoder(KEY)
    for frame in frames[100:]:
        decoder.decode(frame.payload)
    fields = decoder.summary.fields()
    assert (fields["packets"], fields["bad_mac"], fields["undecodable"]) == (855, 0, 429)
    assert decoder.summary.by_kind == {"control": 426}
    assert decoder.summary.warnings[0].startswith("no session key: 429")


def test_a_request_has_no_status(frames: list[UdpDatagram]) -> None:
    decoder = CaptureDecoder(KEY)
    told = [decoder.decode(frame.payload) for frame in frames[:16]]
    (request, reply) = (found[1] for found in (told[13], told[15]) if found)
    assert (request["api"], request["address"], request["count"]) == ("read_virtual", 0xAD5E60, 16)
    assert not {"status", "actual"} & set(request)
    assert (reply["status"], reply["actual"]) == (0, 16)


def test_the_wrong_key_is_refused(samples: Path) -> None:
    done = CliRunner().invoke(winvm, ["kd", "decode", str(samples / NAME), "--key", "8.8.8.9", "--json"])
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["by_kind"] == {}
    assert json.loads(line)["bad_mac"] == 428
    assert json.loads(line)["warnings"] == ["no session key: 527 data datagrams were made with another key"]
    assert "This key decrypts none of" in str(done.exception)


def test_a_capture_that_is_cut_short_gives_what_it_has(samples: Path) -> None:
    whole = gzip.decompress((samples / NAME).read_bytes())
    found: list[UdpDatagram] = []
    with pytest.raises(KdError, match="middle of a packet"):
        found.extend(read_datagrams(io.BytesIO(whole[:100_000])))
    assert len(found) == 523


class Recorded:
    """The machine of the recorded session: sends what its kernel sent, in the order of the capture."""

    def __init__(self, packets: list[Packet]) -> None:
        self._packets = deque(packets)
        self.told_packets: list[Packet] = []

    def say(self) -> Packet | None:
        if self._packets and self._packets[0].type != PacketType.STATE_MANIPULATE:
            return self._packets.popleft()
        return None

    def reply(self, request: Manipulate) -> bytes:
        packet = self._packets.popleft()
        assert packet.type == PacketType.STATE_MANIPULATE
        assert Manipulate.parse(packet.payload).api == request.api
        return packet.payload

    def told(self, packet: Packet) -> None:
        self.told_packets.append(packet)

    def break_in(self) -> None:
        raise AssertionError("nobody broke in")


def test_the_fake_target_sends_the_recorded_bytes(frames: list[UdpDatagram], opened: list[Datagram]) -> None:
    """Every byte of the target's side follows from its kernel's packets and the host's datagrams."""
    said: dict[int, Packet] = {}
    for datagram in opened:
        if datagram.channel == 0 and not datagram.from_host and not is_connection_check(datagram.body):
            packet = parse(datagram.body)
            if not packet.control:
                said.setdefault(packet.id, packet)
    machine = Recorded(list(said.values()))
    target = KdnetTarget(
        machine,
        KEY,
        NONCE,
        target=("192.168.2.72", 51111),
        host=("192.168.2.1", 51111),
        version=4,
    )
    compared = 0
    for frame, datagram in zip(frames, opened, strict=True):
        if datagram.from_host:
            target.receive(frame.payload)
            continue
        if datagram.channel:
            target.poke()
            sent = target.outbox.pop()
        else:
            if not target.outbox:
                target.run()
            sent = target.outbox.popleft()
        assert sent == frame.payload, f"frame {frame.frame}"
        compared += 1
    assert compared == 427 + 265
    assert not target.outbox
