"""A file that grows, read on from where it was."""

from __future__ import annotations

from pathlib import Path

from harness.debuggers.tail import RECLAIM_STEP, FileTail


def test_a_file_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    tail = FileTail(tmp_path / "later")
    assert tail.read(10) == b""
    (tmp_path / "later").write_bytes(b"0123456789abc")
    assert [tail.read(10), tail.read(10), tail.read(10)] == [b"0123456789", b"abc", b""]
    tail.close()


def test_what_was_read_takes_no_disk_space(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    block = bytes(range(256)) * 4096 * 4
    tail = FileTail(raw, reclaim=True)
    other = FileTail(raw)
    with raw.open("ab") as file:  # appends as QEMU does, whatever is done to the beginning
        for _ in range(16):
            file.write(block)
            file.flush()
            assert tail.read(len(block)) == block
    assert raw.stat().st_size == 16 * len(block)
    assert raw.stat().st_blocks * 512 <= RECLAIM_STEP + len(block)
    assert other.read(1) != b"", "a second reader begins where data is left"
    tail.close()
    other.close()
