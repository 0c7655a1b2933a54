"""The end of files that are long, short, absent, or still growing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.fileend import last_bytes, last_text


def test_no_more_than_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"0123456789")
    assert last_bytes(file, 4) == b"6789"
    assert last_bytes(file, 10) == last_bytes(file, 99) == b"0123456789"


def test_text_is_always_text(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"\xe2\x82\xac half of this: \xe2\x82\xac\xff\n\n")
    assert last_text(file, 6) == r"€\xff"
    assert last_text(file, 5) == r"\x82\xac\xff"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        last_bytes(tmp_path / "none", 10)
    assert last_text(tmp_path / "none", 10) == ""
