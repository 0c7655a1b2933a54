"""SFTP against a real SSH server: copies, pinned keys, names, limits, lost connections."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from harness.deadline import Deadline
from harness.errors import AuthenticationError, ConfigurationError, DeadlineError, TransportError
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from tests.fakes.sftp_server import Disk, make_key, serving


@dataclass
class Guest:
    drive: Path
    endpoint: SftpEndpoint
    connections: list[paramiko.Transport]

    def transfer(self, endpoint: SftpEndpoint | None = None) -> SftpTransfer:
        return SftpTransfer(endpoint or self.endpoint, DriveMap({"C:": str(self.drive)}))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "client", "other"):
        make_key(folder / name)
    return folder


@pytest.fixture
def guest(keys: Path, tmp_path: Path) -> Iterator[Guest]:
    drive = tmp_path / "drive_c"
    drive.mkdir()
    with serving(keys / "host", keys / "client") as (port, connections):
        endpoint = SftpEndpoint("127.0.0.1", port, "root", keys / "host.pub", keys / "client")
        yield Guest(drive, endpoint, connections)


@pytest.fixture
def files(guest: Guest) -> Iterator[SftpTransfer]:
    transfer = guest.transfer()
    yield transfer
    transfer.close()


@pytest.fixture(autouse=True)
def no_noise(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds)


def test_push_and_pull(files: SftpTransfer, guest: Guest, tmp_path: Path) -> None:
    source = tmp_path / "driver.sys"
    source.write_bytes(bytes(range(256)) * 800 + b"end")  # not a multiple of a chunk
    assert files.push(source, r"C:\winvm\run\release\winvm.sys", soon()) == source.stat().st_size
    assert (guest.drive / "winvm/run/release/winvm.sys").read_bytes() == source.read_bytes()
    assert files.size(r"c:\winvm\run\release\winvm.sys", soon()) == source.stat().st_size
    copy = tmp_path / "made" / "copy.sys"
    assert files.pull(r"C:\winvm\run\release\winvm.sys", copy, soon(), limit=2 << 20) == source.stat().st_size
    assert copy.read_bytes() == source.read_bytes()
    assert [file.name for file in copy.parent.iterdir()] == ["copy.sys"]
    assert [file.name for file in (guest.drive / "winvm/run/release").iterdir()] == ["winvm.sys"]


def test_push_replaces_and_an_empty_file_is_a_file(files: SftpTransfer, guest: Guest, tmp_path: Path) -> None:
    (guest.drive / "a").write_text("old and longer")
    (tmp_path / "empty").touch()
    assert files.push(tmp_path / "empty", r"C:\a", soon()) == 0
    assert (guest.drive / "a").read_bytes() == b""
    assert files.pull(r"C:\a", tmp_path / "out", soon(), limit=0) == 0


def test_names_ignore_case_as_windows_does(files: SftpTransfer, guest: Guest, tmp_path: Path) -> None:
    (guest.drive / "windows" / "temp").mkdir(parents=True)
    (guest.drive / "windows" / "temp" / "Dump.DMP").write_text("dump")
    (tmp_path / "a").write_text("a")
    files.push(tmp_path / "a", r"C:\Windows\Temp\New\a", soon())
    assert (guest.drive / "windows/temp/New/a").is_file()
    assert not (guest.drive / "Windows").exists()
    assert files.size(r"C:\WINDOWS\temp\dump.dmp", soon()) == 4
    assert files.pull(r"C:\WINDOWS\temp\dump.dmp", tmp_path / "d", soon(), limit=10) == 4


def test_what_is_not_there(files: SftpTransfer, tmp_path: Path) -> None:
    assert files.size(r"C:\no\such", soon()) is None
    with pytest.raises(TransportError, match=r"pull C:\\no: .*No such file"):
        files.pull(r"C:\no", tmp_path / "out", soon(), limit=10)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError, match="not a file"):
        files.push(tmp_path / "none", r"C:\a", soon())


def test_pull_has_a_limit_and_wants_a_file(files: SftpTransfer, guest: Guest, tmp_path: Path) -> None:
    (guest.drive / "big").write_bytes(b"x" * 11)
    (guest.drive / "folder").mkdir()
    with pytest.raises(TransportError, match="11 bytes, more than 10"):
        files.pull(r"C:\big", tmp_path / "out", soon(), limit=10)
    with pytest.raises(TransportError, match="not a file"):
        files.pull(r"C:\folder", tmp_path / "out", soon(), limit=10)
    assert [file.name for file in tmp_path.iterdir()] == ["drive_c"]


def test_a_push_that_fails_leaves_nothing(files: SftpTransfer, guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (guest.drive / "folder").mkdir()
    with pytest.raises(TransportError):
        files.push(tmp_path / "a", r"C:\folder", soon())  # a folder of that name is in the way
    assert [file.name for file in guest.drive.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (Disk(room=0), "Failure"),
        (Disk(room=59 << 15), "Failure"),
        (Disk(room=59 << 15, lies=True), f"the guest kept {59 << 15} of the {60 << 15} bytes"),
    ],
    ids=["full", "full at the last write", "loses the last write"],
)
def test_a_push_to_a_full_disk_fails_and_leaves_the_old_file(
    disk: Disk, said: str, keys: Path, guest: Guest, tmp_path: Path
) -> None:
    """60 writes: paramiko by itself looks at no answer before more than 100 wait."""
    (tmp_path / "new.sys").write_bytes(b"n" * (60 << 15))
    (guest.drive / "a.sys").write_text("old")
    with serving(keys / "host", keys / "client", disk=disk) as (port, _):
        transfer = guest.transfer(dataclasses.replace(guest.endpoint, port=port))
        with pytest.raises(TransportError, match=said) as caught:
            transfer.push(tmp_path / "new.sys", r"C:\a.sys", soon())
        assert "free space" in caught.value.remedy
        assert [(file.name, file.read_text()) for file in guest.drive.iterdir()] == [("a.sys", "old")]
        assert transfer.size(r"C:\a.sys", soon()) == 3, "answers that came late are not taken for others'"
        transfer.close()


def test_a_disk_that_confirms_too_slowly_ends_at_the_deadline(
    keys: Path, guest: Guest, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x" * (60 << 15))
    with serving(keys / "host", keys / "client", disk=Disk(write_s=0.1)) as (port, _):
        transfer = guest.transfer(dataclasses.replace(guest.endpoint, port=port))
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"did not finish within 1 s"):
            transfer.push(tmp_path / "a", r"C:\a", soon(1.0))
        assert time.monotonic() - began < 4
        assert not (guest.drive / "a").exists()
        transfer.close()


@pytest.mark.parametrize(
    "path",
    [
        r"C:\..\..\etc\shadow",
        r"C:\a\..\b",
        "C:/../x",
        "C:\\a\nb",
        "C:\\a\x1b[31m",
        "C:\\a\0",
        r"C:\a:stream",
        r"D:\a",
        r"\\server\share",
        "/etc/shadow",
        "relative",
        "C:",
        "C:\\",
        "",
    ],
)
def test_hostile_names_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DriveMap({"C:": "/winvm/prefix/drive_c"})(path)
    assert not any(character < " " for character in str(caught.value))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (r"C:\a\CON", "CON is a device"),
        (r"C:\a\nul.txt", "NUL is a device, with any extension"),
        (r"C:\aux\b", "AUX is a device"),
        (r"C:\a\Com1 .log", "COM1 is a device"),
        ("C:\\a\\lpt\N{SUPERSCRIPT TWO}", "is a device"),
        (r"C:\a\conin$", "CONIN\\$ is a device"),
        (r"C:\a\b.", "removes dots and spaces"),
        ("C:\\a \\b", "removes dots and spaces"),
        ("C:\\" + "n" * 256, "it has 256 UTF-16 units, 256 bytes in UTF-8, and the limit is 255"),
        ("C:\\" + "\N{GREEK SMALL LETTER ALPHA}" * 128, "it has 128 UTF-16 units, 256 bytes in UTF-8"),
        (r"C:\a?b", "the character '\\?' is not allowed"),
    ],
)
def test_a_name_that_windows_does_not_take_is_refused_with_the_reason(path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        DriveMap({"C:": "/winvm/prefix/drive_c"})(path)


@pytest.mark.parametrize("name", ["console", "com10", "nul_", "lpt", "a.b", ".hidden", "n" * 255])
def test_a_name_like_a_device_is_pushed(files: SftpTransfer, guest: Guest, tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    files.push(source, rf"C:\{name}", soon())
    assert [path.name for path in guest.drive.iterdir()] == [name]


def test_another_host_key(guest: Guest, keys: Path) -> None:
    transfer = guest.transfer(dataclasses.replace(guest.endpoint, host_key=keys / "other.pub"))
    with pytest.raises(AuthenticationError, match=r"host key .* is not the image's own.*other\.pub"):
        transfer.size(r"C:\a", soon())
    transfer.close()


def test_another_client_key(guest: Guest, keys: Path) -> None:
    for name in ("other", "none"):
        transfer = guest.transfer(dataclasses.replace(guest.endpoint, client_key=keys / name))
        with pytest.raises(AuthenticationError, match="refused the key") as caught:
            transfer.size(r"C:\a", soon())
        assert str(keys / name) in str(caught.value)
        transfer.close()


def test_a_connection_that_was_lost_is_made_again(files: SftpTransfer, guest: Guest) -> None:
    (guest.drive / "a").write_text("a")
    assert files.size(r"C:\a", soon()) == 1
    guest.connections[0].close()
    while files._transport is not None and files._transport.is_active():
        time.sleep(0.01)
    assert files.size(r"C:\a", soon()) == 1


def test_a_connection_that_breaks_while_copying(guest: Guest, tmp_path: Path) -> None:
    (guest.drive / "big").write_bytes(b"x" * (64 << 20))
    transfer = guest.transfer()
    transfer.size(r"C:\big", soon())
    threading.Timer(0.2, guest.connections[0].close).start()
    with pytest.raises(TransportError, match=r"connection to .* failed"):
        transfer.pull(r"C:\big", tmp_path / "out", soon(), limit=1 << 30)
    assert not (tmp_path / "out").exists()
    transfer.close()


def test_nobody_listens_and_nobody_answers(guest: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        transfer = guest.transfer(dataclasses.replace(guest.endpoint, port=port))
        started = time.monotonic()
        with pytest.raises((DeadlineError, TransportError)):
            transfer.size(r"C:\a", soon(0.5))
        assert time.monotonic() - started < 2
    with pytest.raises(TransportError, match="refused"):
        transfer.size(r"C:\a", soon())
    transfer.close()


def test_a_passed_deadline_ends_a_copy(guest: Guest, tmp_path: Path) -> None:
    (guest.drive / "big").write_bytes(b"x" * (64 << 20))
    transfer = guest.transfer()
    with pytest.raises(DeadlineError):
        transfer.pull(r"C:\big", tmp_path / "out", soon(0.3), limit=1 << 30)
    transfer.close()


def test_a_server_that_falls_silent_ends_at_the_deadline(keys: Path, guest: Guest, tmp_path: Path) -> None:
    with serving(keys / "host", keys / "client", answering=threading.Event()) as (port, _):
        transfer = guest.transfer(dataclasses.replace(guest.endpoint, port=port))
        began = time.monotonic()
        with pytest.raises(DeadlineError, match=r"did not finish within 0\.5 s"):
            transfer.size(r"C:\file", soon(0.5))
        assert time.monotonic() - began < 5
        transfer.close()


def test_a_command_that_never_ends_ends_at_the_deadline(files: SftpTransfer) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"run sleep did not finish within 0\.5 s"):
        files.execute("sleep", soon(0.5))
    assert time.monotonic() - began < 5
    assert files.size(r"C:\absent", soon()) is None


def test_ranges_of_a_file_of_the_server_come_as_far_as_it_reads(
    files: SftpTransfer, guest: Guest, tmp_path: Path
) -> None:
    (guest.drive / "mem").write_bytes(bytes(range(256)) * 400)
    assert files.server_names(str(guest.drive), soon()) == ["mem"]
    parts = files.server_parts(str(guest.drive / "mem"), [(256, 4), (102_398, 9), (1 << 40, 8)], soon())
    assert parts == [bytes(range(4)), b"\xfe\xff", b""]
    whole = files.server_parts(str(guest.drive / "mem"), [(0, 1 << 20)], soon())
    assert whole == [bytes(range(256)) * 400]
    with pytest.raises(TransportError, match="read"):
        files.server_parts(str(guest.drive / "none"), [(0, 1)], soon())
