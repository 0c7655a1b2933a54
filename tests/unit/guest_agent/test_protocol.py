"""JSON lines, journal lines and markers: framing and caps."""

from __future__ import annotations

import io
import json

import pytest
from agent.journal import MAX_DETAIL, Journal
from agent.marker import MAX_PIECE, Marker
from agent.protocol import MAX_COMMAND, ProtocolError, Wire, cut

from harness.agent.protocol import Finished, parse_event


def wire(content: bytes) -> Wire:
    return Wire(io.BytesIO(content), io.BytesIO())


def test_commands_come_line_by_line_until_the_end() -> None:
    conversation = wire(b'{"cmd":"a"}\r\n{"cmd":"b","x":1}\n')
    assert conversation.receive() == {"cmd": "a"}
    assert conversation.receive() == {"cmd": "b", "x": 1}
    assert conversation.receive() is None


@pytest.mark.parametrize("line", [b"junk\n", b"[1]\n", b"{}\n", b'{"cmd":1}\n', b"\xff\xfe\n"])
def test_what_is_no_command_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire(line).receive()


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(ProtocolError, match="longer than"):
        wire(b"x" * (MAX_COMMAND + 1)).receive()


def test_events_are_one_ascii_line() -> None:
    sink = io.BytesIO()
    Wire(io.BytesIO(), sink).send("finished", message="ä\n\u2028")
    assert sink.getvalue().count(b"\n") == 1
    assert sink.getvalue().isascii()
    assert json.loads(sink.getvalue()) == {"event": "finished", "message": "ä\n\u2028"}


def test_a_lone_surrogate_loses_no_result() -> None:
    sink = io.BytesIO()
    Wire(io.BytesIO(), sink).send("finished", id=1, scenario="s", outcome="passed", notes=["\u4f60 \ud800"])
    event = parse_event(sink.getvalue())
    assert isinstance(event, Finished)
    assert event.notes == ["\u4f60 \\ud800"]


def test_cut_keeps_both_ends() -> None:
    assert cut("short", 100) == "short"
    shortened = cut("a" * 500 + "z" * 500, 100)
    assert len(shortened) <= 100
    assert shortened.startswith("a")
    assert shortened.endswith("z")


def test_the_journal_numbers_operations_and_names_the_scenario() -> None:
    lines: list[bytes] = []
    journal = Journal(lines.append)
    journal.record("StartService", "winvm")
    journal.enter("ioctl.works")
    journal.record("DeviceIoControl", "ü" * 10_000)
    first, second = (json.loads(line) for line in lines)
    assert first == {"n": 1, "run": 0, "scenario": "", "op": "StartService", "detail": "winvm"}
    assert (second["n"], second["scenario"]) == (2, "ioctl.works")
    assert len(second["detail"]) == MAX_DETAIL
    assert all(line.endswith(b"\n") and line.isascii() for line in lines)
    assert journal.count == 2


def test_markers_carry_the_nonce_and_stay_in_one_piece() -> None:
    printed: list[str] = []
    marker = Marker("n0nce", printed.append)
    marker.begin(7, "ioctl.works[a]")
    marker.end(7, "é" * 5000)
    assert printed[0] == "WINVM-MARK n0nce begin 7 ioctl.works[a]\n"
    assert printed[1].startswith("WINVM-MARK n0nce end 7 ???")
    assert all(len(text) < MAX_PIECE for text in printed)


@pytest.mark.parametrize("nonce", ["", "two words", "line\n", "x" * 65])
def test_a_nonce_that_breaks_the_line_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="marker nonce"):
        Marker(nonce, lambda _text: None)
