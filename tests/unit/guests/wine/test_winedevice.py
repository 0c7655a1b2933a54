"""The IRPs that a driver holds, read from /proc of a guest over SFTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import TransportError
from harness.guests.wine.debug_lines import LoadedDriver
from harness.guests.wine.guest import WineGuest
from harness.guests.wine.winedevice import SOURCE, debugger_state, held
from harness.images.base import BaseImage
from harness.outcome import KernelCrash
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from tests.fakes.debug import FakeDebugStream
from tests.fakes.sftp_server import make_key, serving
from tests.fakes.winedevice import BASE, CONTROL, SIZE, STAMP, Winedevice

DRIVER = LoadedDriver(r"C:\winvm\run\release\drv.sys", BASE, "0040")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SftpTransfer]:
    for name in ("host", "client"):
        make_key(tmp_path / name)
    with serving(tmp_path / "host", tmp_path / "client") as (port, _):
        endpoint = SftpEndpoint("127.0.0.1", port, "root", tmp_path / "host.pub", tmp_path / "client")
        transfer = SftpTransfer(endpoint, DriveMap({}))
        yield transfer
        transfer.close()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "7").mkdir(parents=True)
    (folder / "7" / "comm").write_text("wineserver64\n")
    (folder / "9").mkdir()  # it has ended
    (folder / "self").mkdir()
    return folder


def test_the_process_of_the_driver_is_found_among_others(files: SftpTransfer, proc: Path) -> None:
    Winedevice().write(proc / "31")
    (proc / "31" / "mem").write_bytes(b"")  # another driver's: nothing is at this base
    process = Winedevice()
    irp = process.irp(CONTROL, code=0x22A480)
    process.write(proc / "30")
    found = held(files, DRIVER, Deadline.after(20), str(proc))
    assert (found.module.name, found.module.base, found.module.size) == ("drv.sys", BASE, SIZE)
    assert (found.module.timestamp, found.source) == (STAMP, SOURCE)
    (one,) = found.irps
    assert (one.address, one.code, one.routine) == (irp, 0x22A480, BASE + 0x1230)


def test_a_driver_that_nobody_holds_is_named(files: SftpTransfer, proc: Path) -> None:
    with pytest.raises(TransportError, match=r"No process of the guest has a driver object of drv\.sys"):
        held(files, DRIVER, Deadline.after(20), str(proc))


def test_a_debugger_that_writes_no_dump_is_described(files: SftpTransfer, proc: Path) -> None:
    assert debugger_state(files, Deadline.after(20), str(proc)).startswith(
        "No crashdump.exe runs in the guest"
    )
    (proc / "50" / "task" / "50").mkdir(parents=True)
    (proc / "50" / "comm").write_text("crashdump.exe\n")
    (proc / "50" / "stat").write_text(
        "50 (crashdump.exe) S 1 1 1 0 -1 4194304 900 0 3 0 120 35 0 0 20 0 1 0 99\n"
    )
    (proc / "50" / "task" / "50" / "wchan").write_text("pipe_read")
    assert debugger_state(files, Deadline.after(20), str(proc)) == (
        "crashdump.exe, which writes it, still runs: state S, 1.6 s of processor time, threads wait in "
        "pipe_read (/proc)."
    )


def test_what_starts_no_debugger_leaves_no_dump_to_wait_for(tmp_path: Path) -> None:
    guest, stream = WineGuest(BaseImage(tmp_path, "digest", 1, "sha", {})), FakeDebugStream()
    overflow = "00c8:00dc:err:virtual:virtual_setup_exception stack overflow 1792 bytes addr 0x10 stack 0x20"
    aborted = KernelCrash("exception", 0xC00000FD, (), time=0.0, text=overflow)
    fast = "00c8:00dc:err:seh:NtRaiseException Unhandled exception code c0000409 flags 1 addr 0x10"
    handled = "wine: Unhandled stack overflow at address 1000 (thread 0024), starting debugger..."
    assert "starts no debugger" in guest.dump(aborted, stream).absent
    assert "starts no debugger" in guest.dump(replace(aborted, code=0xC0000409, text=fast), stream).absent
    assert guest.dump(replace(aborted, text=handled), stream).absent == ""
