"""The accelerator's choice with scripted QEMUs, and the payload itself on the real one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.machine.accelerator import (
    BOOT_ID,
    PAYLOAD,
    QEMU,
    SUCCESS,
    Accelerator,
    Probe,
    choose_accelerator,
    run_program,
)

SOURCE = Path(__file__).parents[3] / "vm" / "probe" / "longmode.S"


class ScriptedQemu:
    """Answers `--version`, and a probe with `code` and `output`."""

    def __init__(self, code: int | None = SUCCESS, output: str = "", version: str = "10.0.2") -> None:
        self.code, self.output, self.version = code, output, version
        self.boot = "first"
        self.probes = 0

    def __call__(self, argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        if "--version" in argv:
            return 0, f"QEMU emulator version {self.version} (Debian 1:{self.version}+ds-2)"
        if BOOT_ID in argv:
            return 0, f"{self.boot}\n"
        self.probes += 1
        return self.code, self.output


@pytest.fixture(autouse=True)
def no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINVM_ACCEL", raising=False)


def choose(qemu: ScriptedQemu, folder: Path, kvm: str = "kvm") -> Probe:
    (folder / "kvm").touch()
    return choose_accelerator(folder / "cache.json", Deadline.after(20), run=qemu, kvm=folder / kvm)


def test_kvm_that_runs_the_payload_is_used(tmp_path: Path) -> None:
    assert choose(ScriptedQemu(), tmp_path).accelerator is Accelerator.KVM


@pytest.mark.parametrize(
    ("code", "output", "reason"),
    [
        (134, "qemu: error: failed to set MSR 0x10a\nAborted", "failed to set MSR 0x10a"),
        (None, "", "hung"),
        (1, "", "exit code 1"),
    ],
)
def test_kvm_that_fails_is_not_used(tmp_path: Path, code: int | None, output: str, reason: str) -> None:
    probe = choose(ScriptedQemu(code, output), tmp_path)
    assert probe.accelerator is Accelerator.TCG
    assert reason in probe.reason


def test_no_device_needs_no_probe(tmp_path: Path) -> None:
    qemu = ScriptedQemu()
    assert choose(qemu, tmp_path, kvm="absent").accelerator is Accelerator.TCG
    assert qemu.probes == 0


def test_the_result_is_kept_until_qemu_changes(tmp_path: Path) -> None:
    qemu = ScriptedQemu()
    assert choose(qemu, tmp_path) == choose(qemu, tmp_path)
    assert qemu.probes == 1
    qemu.version = "10.1.0"
    choose(qemu, tmp_path)
    assert qemu.probes == 2


def test_the_result_is_not_kept_over_a_reboot(tmp_path: Path) -> None:
    qemu = ScriptedQemu()
    choose(qemu, tmp_path)
    qemu.boot = "second"
    choose(qemu, tmp_path)
    assert qemu.probes == 2


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "cache.json").write_text("{")
    assert choose(ScriptedQemu(), tmp_path).accelerator is Accelerator.KVM


def test_the_override_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINVM_ACCEL", "tcg")
    qemu = ScriptedQemu()
    assert choose(qemu, tmp_path).accelerator is Accelerator.TCG
    assert qemu.probes == 0
    monkeypatch.setenv("WINVM_ACCEL", "hvf")
    with pytest.raises(ConfigurationError, match="hvf"):
        choose(qemu, tmp_path)


def test_an_old_qemu_is_refused_without_kvm_only(tmp_path: Path) -> None:
    assert choose(ScriptedQemu(version="7.2.22"), tmp_path).accelerator is Accelerator.KVM
    with pytest.raises(HostError, match=r"7\.2\.22 is too old") as caught:
        choose(ScriptedQemu(version="7.2.22"), tmp_path, kvm="absent")
    assert "backports" in caught.value.remedy


def test_no_qemu_is_an_error(tmp_path: Path) -> None:
    def missing(argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        return run_program(["/nonexistent/qemu"], seconds)

    with pytest.raises(HostError, match="does not run"):
        choose_accelerator(tmp_path / "cache", Deadline.after(5), run=missing)


@pytest.mark.skipif(not shutil.which(QEMU), reason="QEMU is not installed")
def test_the_payload_runs_where_long_mode_works(tmp_path: Path) -> None:
    disk = tmp_path / "payload"
    disk.write_bytes(PAYLOAD)
    argv = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", "16", "-nodefaults", "-display", "none"]
    argv += ["-drive", f"file={disk},format=raw,if=ide", "-device", "isa-debug-exit,iobase=0x501,iosize=1"]
    assert run_program(argv, 20)[0] == SUCCESS


@pytest.mark.skipif(not shutil.which("as") or not shutil.which("ld"), reason="binutils are not installed")
def test_the_payload_is_its_source_assembled(tmp_path: Path) -> None:
    subprocess.run(["as", str(SOURCE), "-o", str(tmp_path / "o")], check=True)
    link = ["ld", "-Ttext=0x7c00", "--oformat=binary", str(tmp_path / "o"), "-o", str(tmp_path / "bin")]
    subprocess.run(link, check=True)
    assert (tmp_path / "bin").read_bytes() == PAYLOAD
