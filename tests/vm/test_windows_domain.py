"""Starts real Windows domains without an installed Windows: their firmware boots, their devices work."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from harness.host.resources import vm_folder

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "windows-firmware"
WINDOWS = sorted(file.stem for file in (vm_folder() / "profiles").glob("windows-*.toml"))


def work(*arguments: str) -> dict[str, Any]:
    """The results of a separate process; see `windows_firmware`."""
    command = [sys.executable, "-m", "tests.vm.windows_firmware", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pixels(picture: Path) -> bytes:
    """The picture's bytes behind PNG's compression (its chunks: length, type, data, checksum)."""
    data, at, packed = picture.read_bytes(), 8, b""
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += size + 12
    return zlib.decompress(packed)


@pytest.fixture(scope="module")
def booted() -> dict[str, Any]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return work("boots", str(PICTURES), *WINDOWS)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_firmware_of_each_profile_reaches_its_boot_manager(booted: dict[str, Any], name: str) -> None:
    found = booted[name]
    assert found["state"] == "running"
    said = found["said"]
    disk, disc = said.index("QEMU HARDDISK"), said.index("QEMU DVD-ROM")
    assert disk < disc < said.index("UEFI Interactive Shell"), "the disk is tried before the CD"
    assert found["variables"] > 0, "UEFI's variables are a file of the machine's own"
    lit = sum(1 for byte in pixels(PICTURES / f"{name}.png") if byte > 4)  # PNG's filters are 0 to 4
    assert lit > 200, "the screen shows something"


def test_a_panic_is_heard_and_the_guest_goes_on() -> None:
    found = work("panics", "dump")
    assert found["panics"] == 1
    assert found["code"] is None, "pvpanic reports no code"
    assert found["journal"] == "BA"
    assert found["state"] == "running", "libvirt reports crashed, QEMU running"
    assert "crashed panicked" in found["events"]


def test_a_panic_can_stop_the_guest() -> None:
    found = work("panics", "stop")
    assert found["panics"] == 1
    assert found["state"] == "crashed"
    assert found["journal"] == "B"


def test_a_uefi_guest_is_saved_and_restored() -> None:
    found = work("restores")
    assert "BdsDxe" in found["before"]
    for answer in found["answers"]:
        assert "UEFI v" in answer
        assert "BdsDxe" not in answer, "a restored guest does not boot again"
    assert found["generation"] == 3


def test_libvirt_and_qemu_take_the_enlightenments() -> None:
    found = work("enlightened")
    assert found["state"] == "running"
    for feature in ("hv-crash", "hv-vendor-id=KVMKVMKVM", "hv-stimer-direct", "hv-time", "hv-tlbflush"):
        assert feature in found["command"]
