"""The IRPs that a driver holds, read from /proc of a guest over SFTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import TransportError
from harness.guests.wine.debug_lines import LoadedDriver
from harness.guests.wine.winedevice import SOURCE, held
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
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
