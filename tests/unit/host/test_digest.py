"""SHA-256 of files: one way to compute it, and no second reading of a file that has not changed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from harness.host.digest import file_sha256, is_unchanged, stream_sha256

ROOT = Path(__file__).resolve().parents[3]
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""Of the three bytes `abc` (FIPS 180-4)."""


def test_a_file_and_a_stream_have_the_digest_of_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == stream_sha256(io.BytesIO(b"abc")) == ABC
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "absent")


def test_a_file_is_read_again_once_it_was_touched(tmp_path: Path) -> None:
    file, note = tmp_path / "abc", tmp_path / "note"
    file.write_bytes(b"abc")
    assert is_unchanged(file, ABC, note)
    assert is_unchanged(file, "not read", note)
    file.write_bytes(b"abd")
    assert not is_unchanged(file, ABC, note)


def test_no_module_computes_it_by_itself() -> None:
    own = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "harness").rglob("*.py"))
        if "file_digest" in (text := path.read_text(encoding="utf-8")) or "sha256(path.read_bytes" in text
    ]
    assert own == ["harness/host/digest.py"]
