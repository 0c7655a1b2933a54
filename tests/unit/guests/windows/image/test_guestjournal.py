"""Lines that a guest writes to COM2 while it is installed: hostile ones are passed over, all are bounded."""

from __future__ import annotations

from pathlib import Path

from harness.guests.windows.image.guestjournal import ENTRIES_LIMIT, GuestJournal, parse


def test_hostile_lines_are_passed_over_and_bounded(tmp_path: Path) -> None:
    line = b'{"step":"a","phase":"apply","state":"done","message":"\\u001b[2J\\u202e"}\n'
    junk = [
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b"null",
        b'{"step":1}',
        b"{" * 5000,
        b"x" * 100_000,
        b'{"step":"a"}',
    ]
    file = tmp_path / "com2"
    file.write_bytes(b"\n".join(junk) + b"\n" + line * (ENTRIES_LIMIT + 50))
    journal = GuestJournal(file, tmp_path / "copy")
    found = journal.read()
    assert len(found) == ENTRIES_LIMIT
    assert found[0].message == "\\x1b[2J\\u202e"
    assert journal.read() == []
    file.write_bytes(file.read_bytes() + line)
    assert journal.read() == []


def test_texts_of_an_entry_are_strings_and_short() -> None:
    entry = parse(b'{"step":{"a":1},"phase":["x"],"state":true,"message":"' + b"m" * 5000 + b'"}')
    assert entry is not None
    assert (entry.step, entry.state, len(entry.message)) == ("{'a': 1}", "True", 1000)
