"""The text of recorded serial lines: both directions in one file, well formed and not."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.debuggers.kd.capture.both_sides import RecordingDecoder
from harness.debuggers.kd.capture.recording import is_recording, read_recording
from harness.debuggers.kd.com.framing import BREAK_IN, SerialReader, is_break_in, serial_bytes
from harness.debuggers.kd.images import LoadedImages
from harness.debuggers.kd.packets import Packet, PacketType, control
from harness.debuggers.kd.state import Symbols
from harness.errors import ConfigurationError, KdError
from tests.fakes.kd_listening import FATAL
from tests.fakes.kd_machine import exception, load_symbols, printed


def numbered(packet: Packet, number: int) -> Packet:
    return Packet(packet.type, 0x80800000 | number, packet.payload)


def line(side: str, data: bytes) -> str:
    return f"1.5 {side} {data.hex()}\n"


def decoded(folder: Path, text: str) -> list[dict[str, Any]]:
    file = folder / "line.txt.gz"
    file.write_bytes(gzip.compress(text.encode()))
    done = CliRunner().invoke(
        winvm, ["kd", "decode", str(file), "--serial", "--json"], catch_exceptions=False
    )
    return [json.loads(said) for said in done.stdout.splitlines()]


def test_packets_that_are_spread_over_reads_are_joined_on_each_side(tmp_path: Path) -> None:
    said = serial_bytes(numbered(printed("hello\n"), 0x800))
    answer = serial_bytes(control(PacketType.ACK, 0x80800000))
    text = line("T", said[:7]) + line("H", answer[:3]) + line("T", said[7:]) + line("H", answer[3:])
    *events, summary = decoded(tmp_path, text)
    assert [(event["kind"], event["from"], event["time"]) for event in events] == [
        ("dbgprint", "target", 1.5), ("ack", "host", 1.5)
    ]  # fmt: skip
    assert summary["packets"] == 2


def test_what_is_sent_again_is_reported_once(tmp_path: Path) -> None:
    said = numbered(printed("\n"), 0)
    resent = line("T", serial_bytes(said)) * 2
    next_one = line("T", serial_bytes(numbered(printed("\n"), 1)))
    reset = line("H", serial_bytes(control(PacketType.RESET))) + line(
        "T", serial_bytes(control(PacketType.RESET))
    )
    repeated = line("T", serial_bytes(numbered(printed("\n"), 0)))
    *events, _ = decoded(tmp_path, resent + next_one + reset + repeated + next_one)
    assert [event["kind"] for event in events] == [
        "dbgprint", "resend", "dbgprint", "reset", "reset", "resend", "dbgprint"
    ]  # fmt: skip


def test_a_break_in_and_a_bugcheck_that_nobody_read_are_reported(tmp_path: Path) -> None:
    loaded = numbered(load_symbols(r"\??\C:\winvm\winvm.sys", 0xFFFFF80200000000, 0x9000), 0)
    text = line("T", serial_bytes(loaded)) + line("H", BREAK_IN)
    text += line("T", serial_bytes(numbered(exception(0xC0000005, 0xFFFFF80200001234), 1)))
    text += line("T", serial_bytes(numbered(printed(FATAL), 0)))
    *events, _ = decoded(tmp_path, text)
    assert [event["kind"] for event in events] == [
        "load-symbols",
        "control",
        "exception",
        "dbgprint",
        "bugcheck",
    ]
    assert events[1]["what"] == "break-in"
    assert (events[2]["place"], events[2]["break_in"]) == ("winvm.sys+0x1234", True)
    assert (events[4]["code"], events[4]["halted"]) == (0xD1, False)


@pytest.mark.parametrize(
    "bad",
    [
        "2.0 T 303",
        "2.0 X 30",
        "nan T 30",
        "-1 T 30",
        "2.0 T 30 31",
        "2.0 T zz",
        "1e9 T 30",
        "\0" * 100,
        "2.0 T",
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "line.txt"
    good = line("T", serial_bytes(numbered(printed("hello\n"), 0)))
    file.write_text(f"{good}{bad}\n{good}")
    done = CliRunner().invoke(winvm, ["kd", "decode", str(file), "--serial", "--json"])
    assert isinstance(done.exception, ConfigurationError)
    assert "Line 2 " in str(done.exception)
    assert json.loads(done.stdout.splitlines()[0])["text"] == "hello\n"


def test_a_recording_cut_inside_its_last_line_is_called_cut(tmp_path: Path) -> None:
    good = line("T", serial_bytes(numbered(printed("hello\n"), 0)))
    file = tmp_path / "line.txt"
    file.write_text(good + "2.0 T 303")
    done = CliRunner().invoke(winvm, ["kd", "decode", str(file), "--serial", "--json"])
    assert "The recording is cut off in its last line, 2." in str(done.exception)
    assert json.loads(done.stdout.splitlines()[0])["text"] == "hello\n"


def test_a_line_without_end_is_refused_before_it_is_read_whole() -> None:
    endless = io.BytesIO(b"1.0 T " + b"30" * (1 << 21))
    with pytest.raises(KdError, match="Line 1 "):
        list(read_recording(endless))


def test_a_cut_gzip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "line.txt.gz"
    file.write_bytes(gzip.compress(line("T", bytes(range(256)) * 64).encode())[:60])
    done = CliRunner().invoke(winvm, ["kd", "decode", str(file), "--serial"])
    assert isinstance(done.exception, ConfigurationError)


def test_raw_bytes_of_a_line_are_not_taken_for_a_recording() -> None:
    assert is_recording(b"2.445072 T 30303030\n")
    assert is_recording(b"3 H \n")
    assert not is_recording(serial_bytes(printed("1.0 T 30")))
    assert not is_recording(b"0000 loading T 30\r\n")
    assert not is_recording(b"")


def test_a_break_in_byte_is_seen_wherever_it_stands_in_a_read() -> None:
    ack = serial_bytes(control(PacketType.ACK))
    for data in (b"b", b"b" + ack, ack + b"b", ack + b"bb" + ack):
        between: list[bytes] = []
        assert len(list(SerialReader(between.append).feed(data))) == data.count(ack)
        assert [is_break_in(one) for one in between] == [True]
    between = []
    list(SerialReader(between.append).feed(b"boot text b\r\n" + ack))
    assert not any(map(is_break_in, between))


def test_an_image_is_forgotten_when_it_is_unloaded_whatever_its_size() -> None:
    images = LoadedImages()
    images.take(Symbols(r"C:\a.sys", 0x1000, 0x1000, 0, unload=False))
    images.take(Symbols(r"C:\b.sys", 0x2000, 0x1000, 0, unload=False))
    assert images.placed(0x1FFF) == {"place": "a.sys+0xfff"}
    images.take(Symbols("a.sys", 0x1000, 0, 0, unload=True))
    assert images.placed(0x1FFF) == {}
    assert images.placed(0x2000) == {"place": "b.sys+0x0"}
    images.take(Symbols("", 0xFFFFFFFFFFFFFFFF, 0, 0, unload=True))
    assert images.placed(0x2000) == {}


def test_an_endless_halt_does_not_grow() -> None:
    decoder = RecordingDecoder()
    list(decoder.decode(serial_bytes(numbered(exception(0x80000003), 0)), from_host=False))
    reply = b"\x32\x31\0\0\x06\0" + bytes(50)
    for number in range(9_000):
        packet = Packet(
            PacketType.STATE_MANIPULATE,
            0x80800000 | ~number & 1,
            reply[:6] + number.to_bytes(2, "little") + reply[8:],
        )
        list(decoder.decode(serial_bytes(packet), from_host=False))
    assert decoder._halt is not None
    assert len(decoder._halt._others) <= 8192
