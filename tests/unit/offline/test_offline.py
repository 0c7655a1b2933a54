"""Powered-off Windows disks: partitions, NTFS files, dumps, and a driver disabled in the SYSTEM hive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, MachineError
from harness.offline.disk import OfflineDisk
from harness.offline.hive import DISABLED, SystemHive
from harness.offline.ntfs import NtfsVolume
from harness.offline.partitions import partitions
from harness.offline.rescue import disable_driver
from harness.offline.windows import SYSTEM_HIVE, dumps, find_windows
from tests.fakes.windows_disk import needs_fuse, system_hive, windows_disk

pytestmark = needs_fuse()
LIMIT = 64 << 20


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(scope="module", params=["mbr", "gpt"])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    system_hive(folder / "SYSTEM")
    (folder / "MEMORY.DMP").write_bytes(b"PAGEDU64" + bytes(3 << 20) + b"end")
    (folder / "small.dmp").write_bytes(b"small")
    files = {
        SYSTEM_HIVE: folder / "SYSTEM",
        "Windows/MEMORY.DMP": folder / "MEMORY.DMP",
        "Windows/Minidump/123125-8812-01.dmp": folder / "small.dmp",
        "Windows/Minidump/010226-9001-01.dmp": folder / "small.dmp",
        "Windows/Minidump/notes.txt": folder / "small.dmp",
    }
    return windows_disk(folder, files, gpt=request.param == "gpt")


@pytest.fixture
def overlay(disk: Path, tmp_path: Path) -> Path:
    made = tmp_path / "overlay, with comma.qcow2"
    backing = ["-b", str(disk), "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(made)], check=True, timeout=30)
    return made


def test_windows_and_its_dumps_are_found_and_copied(overlay: Path, tmp_path: Path) -> None:
    with OfflineDisk(overlay, soon()) as disk:
        assert len(disk.volumes) == 2
        windows = find_windows(disk.volumes, soon())
        assert dumps(windows, soon()) == ("Windows/MEMORY.DMP", "Windows/Minidump/010226-9001-01.dmp")
        size = windows.copy_out("windows/memory.dmp", tmp_path / "copy", soon(), LIMIT)
    copy = tmp_path / "copy"
    assert copy.read_bytes() == b"PAGEDU64" + bytes(3 << 20) + b"end"
    assert size == copy.stat().st_size
    assert copy.stat().st_blocks * 512 < 2 << 20, "zeros are kept as holes"


def test_nothing_stays_mounted_and_the_image_is_unchanged(overlay: Path) -> None:
    before = overlay.read_bytes()
    with OfflineDisk(overlay, soon()):
        assert "winvm-offline-" in Path("/proc/mounts").read_text()
    assert "winvm-offline-" not in Path("/proc/mounts").read_text()
    assert overlay.read_bytes() == before


def test_a_file_beyond_the_limit_is_refused(overlay: Path, tmp_path: Path) -> None:
    with OfflineDisk(overlay, soon()) as disk:
        windows = find_windows(disk.volumes, soon())
        with pytest.raises(MachineError, match="more than 1048576 bytes"):
            windows.copy_out("Windows/MEMORY.DMP", tmp_path / "copy", soon(), 1 << 20)
        with pytest.raises(MachineError, match="no NOTHING"):
            windows.copy_out("Windows/NOTHING", tmp_path / "copy", soon(), LIMIT)
        with pytest.raises(DeadlineError):
            windows.copy_out("Windows/MEMORY.DMP", tmp_path / "copy", Deadline.after(0), LIMIT)


def test_a_driver_is_disabled_in_the_control_set_that_boots(
    overlay: Path, disk: Path, tmp_path: Path
) -> None:
    base = disk.read_bytes()
    assert disable_driver(overlay, "mydriver", soon()) == 1
    with OfflineDisk(overlay, soon()) as opened:
        find_windows(opened.volumes, soon()).copy_out(SYSTEM_HIVE, tmp_path / "SYSTEM", soon(), LIMIT)
    hive = SystemHive(tmp_path / "SYSTEM", soon())
    assert hive.start_type("mydriver") == DISABLED
    exported = subprocess.run(
        ["hivexregedit", "--export", str(tmp_path / "SYSTEM"), "\\"],
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout.decode()
    assert '[\\ControlSet001\\Services\\mydriver]\n"Start"=dword:00000003' in exported
    assert '"ImagePath"=hex(2):5c,00,78,00,00,00' in exported
    assert '[\\ControlSet002\\Services\\mydriver\\Parameters]\n"Start"=dword:00000007' in exported
    assert disk.read_bytes() == base, "what the overlay is backed by stays as it was"


def test_the_command_says_what_it_changed(overlay: Path) -> None:
    winvm = [sys.executable, "-m", "harness", "rescue", str(overlay), "--driver", "mydriver"]
    done = subprocess.run(winvm, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mydriver is disabled on" in done.stdout
    assert "its start type was system" in done.stdout
    again = subprocess.run([*winvm, "--json"], capture_output=True, timeout=60, check=False)
    assert json.loads(again.stdout)["start_before"] == DISABLED
    missing = subprocess.run([*winvm[:-1], "other"], capture_output=True, text=True, timeout=60, check=False)
    assert missing.returncode == 2
    assert "no service 'other'" in missing.stderr


def test_a_service_that_is_not_there_is_named(overlay: Path) -> None:
    before = overlay.read_bytes()
    with pytest.raises(ConfigurationError, match="no service 'other'"):
        disable_driver(overlay, "other", soon())
    with pytest.raises(ConfigurationError, match="is no name"):
        disable_driver(overlay, 'x"]\n[\\Select', soon())
    assert overlay.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(1 << 20)], ids=["empty", "text", "noise"])
def test_a_damaged_hive_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "SYSTEM").write_bytes(content)
    with pytest.raises(MachineError):
        SystemHive(tmp_path / "SYSTEM", soon())


def test_a_disk_without_windows_is_reported(tmp_path: Path) -> None:
    disk = windows_disk(tmp_path, {})
    with OfflineDisk(disk, soon()) as opened, pytest.raises(MachineError, match="holds Windows"):
        find_windows(opened.volumes, soon())


def test_an_image_that_is_none_is_reported(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").write_bytes(b"no image")
    with pytest.raises(MachineError, match="qemu-img failed"):
        OfflineDisk(tmp_path / "disk.qcow2", soon())


def test_a_damaged_volume_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "volume").write_bytes(b"\xeb\x52\x90NTFS    " + os.urandom(1 << 16))
    with pytest.raises(MachineError):
        NtfsVolume(tmp_path / "volume").list("Windows", soon())


@pytest.mark.parametrize("head", [b"", bytes(512), os.urandom(510) + b"\x55\xaa" + os.urandom(4096)])
def test_partition_tables_are_not_trusted(head: bytes) -> None:
    for one in partitions(head, 1 << 30):
        assert one.size > 0
        assert one.offset + one.size <= 1 << 30


def test_a_gpt_of_absurd_entries_is_bounded() -> None:
    head = bytearray(1 << 20)
    head[446 + 4] = 0xEE
    head[510:512] = b"\x55\xaa"
    head[512:520] = b"EFI PART"
    head[512 + 72 : 512 + 88] = b"\xff" * 16
    assert partitions(bytes(head), 1 << 40) == ()
