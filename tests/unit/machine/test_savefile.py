"""Save files of libvirt's layout, and what is none; tests/vm/test_hosts.py restores copies of real ones."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.machine.savefile import LARGEST_XML, SAVE_MAGIC, Identity, copy_for, identity

OLD = Identity("winvm-0123456789ab-cdef", uuid.UUID("9a7e78cc-f3c2-5d07-82e0-82763eeb2850"))
NEW = Identity("winvm-ba9876543210-fedc", uuid.UUID("11111111-2222-4333-8444-555555555555"))
HOLE = 32 << 20


def header(length: int, magic: bytes = SAVE_MAGIC, version: int = 2) -> bytes:
    return struct.pack("=16sIIIII56x", magic, version, length, 1, 6, 0)


def xml(name: str = OLD.name, unique: str = str(OLD.uuid)) -> bytes:
    return f"<domain type='qemu'>\n  <name>{name}</name>\n  <uuid>{unique}</uuid>\n</domain>\n\0".encode()


def save_file(folder: Path, data: bytes | None = None, **of_header: object) -> Path:
    """With memory behind a hole that names the old domain too."""
    text = (xml() if data is None else data) + b"<cookie/>\0"
    file = folder / "memory.save"
    with file.open("wb") as stream:
        stream.write(header(len(text), **of_header) + text)  # type: ignore[arg-type]
        stream.seek(HOLE)
        stream.write(xml() * 100)
    file.chmod(0o400)
    return file


def soon() -> Deadline:
    return Deadline.after(10)


def test_a_copy_is_another_domains_and_nothing_else_differs(tmp_path: Path) -> None:
    source, target = save_file(tmp_path), tmp_path / "copy"
    before = source.read_bytes()
    copy_for(source, target, NEW, soon())
    assert (identity(source), identity(target)) == (OLD, NEW)
    expected = before.replace(OLD.name.encode(), NEW.name.encode(), 1)
    assert target.read_bytes() == expected.replace(str(OLD.uuid).encode(), str(NEW.uuid).encode(), 1)
    assert source.read_bytes() == before
    assert target.stat().st_mode & 0o777 == 0o600


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = save_file(tmp_path), tmp_path / "copy"
    copy_for(source, target, NEW, soon())
    assert target.stat().st_size == source.stat().st_size > HOLE
    assert target.stat().st_blocks * 512 < 1 << 20


def test_a_copy_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"old" * 100_000_00)
    copy_for(save_file(tmp_path), tmp_path / "copy", NEW, soon())
    assert identity(tmp_path / "copy") == NEW


def test_a_name_of_another_length_is_refused(tmp_path: Path) -> None:
    source = save_file(tmp_path)
    with pytest.raises(MachineError, match="has another length"):
        copy_for(source, tmp_path / "copy", Identity("guest", NEW.uuid), soon())
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"LibvirtQemudSave",
        header(100)[:91],
        header(200, magic=b"LibvirtQemudPart") + xml(),
        header(200, version=3) + xml(),
        header(200, version=2 << 24) + xml(),
        header(0) + xml(),
        header(LARGEST_XML + 1) + xml(),
        header(0xFFFFFFFF) + xml(),
        header(10) + xml(),
        header(200),
        header(200) + b"\0" + xml(),
        header(200) + xml(name=""),
        header(200) + xml(unique="x" * 36),
        header(200) + bytes(range(255, 0, -1)),
    ],
)
def test_what_is_no_save_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "memory.save"
    file.write_bytes(content)
    with pytest.raises(MachineError, match=r"is no libvirt save file|does not say which domain"):
        copy_for(file, tmp_path / "copy", NEW, soon())
    assert not (tmp_path / "copy").exists()


def test_a_uuid_of_hyphens_is_refused(tmp_path: Path) -> None:
    file = save_file(tmp_path, xml(unique="-" * 36))
    with pytest.raises(MachineError, match="does not say which domain"):
        identity(file)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"gone cannot be read: No such file"):
        identity(tmp_path / "gone")
