"""Deficient hosts, through the real commands: one paragraph with a remedy, exit code 3, nothing left."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from harness.display.unexpected import as_winvm_error
from harness.errors import HostError, ImageError, InternalError
from harness.guests.wine.spec import MachineSpec
from harness.images import wine
from harness.machine.accelerator import QEMU, Accelerator
from harness.project.profiles import find_profile
from tests.fakes.bad_input_project import Project

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """With an image, so that none is built, and a short-named home: libvirt's socket paths have 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="wvm-"))
    yield Project.make(tmp_path / "project", home).with_driver().with_image()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def small_disk() -> Iterator[Callable[[str], Path]]:
    """`small_disk("64m")` mounts a file system of that size."""
    folder = Path(tempfile.mkdtemp(prefix="wvd-"))

    def mount(size: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "winvm-test", str(folder)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this process may not mount")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)
    folder.rmdir()


def processes_in(folder: Path) -> list[str]:
    """Names of the processes whose working folder is `folder`, or below it."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # it has ended
            if link.readlink().is_relative_to(folder.resolve()):
                found.append((link.parent / "comm").read_text())
    return found


def with_program(project: Project, name: str, script: str) -> Project:
    """A program of this name comes first in PATH."""
    folder = project.folder / "bin"
    folder.mkdir()
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return replace(project, environment={"PATH": f"{folder}:{os.environ['PATH']}"})


def test_no_libvirt_module(project: Project) -> None:
    (project.folder / "libvirt.py").write_text('raise ImportError("libvirt.so.0: cannot open")')
    broken = replace(project, environment={"PYTHONPATH": str(project.folder)})
    for command in ("run", "up", "down"):
        code, said = broken.winvm(command)
        assert (code, "libvirt's Python module cannot be loaded: libvirt.so.0" in said) == (3, True), said
    code, said = broken.winvm("doctor")
    assert code == 3
    assert "no libvirt" in said
    assert "requirements not met:" in said


def test_no_libvirt_driver(project: Project) -> None:
    broken = replace(
        project, environment={"LIBVIRT_DRIVER_DIR": "/nonexistent", "WINVM_ACCEL": "tcg"}
    )  # libvirt's own variable
    code, said = broken.winvm("run")
    assert code == 3
    assert "libvirt cannot open qemu:///embed" in said
    assert "Install libvirt-daemon-driver-qemu" in said
    assert (project.folder / "artifacts" / "latest" / "results.json").is_file()


def test_an_old_qemu(project: Project) -> None:
    old = with_program(project, QEMU, 'echo "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"')
    code, said = old.winvm("run")
    assert code == 3
    assert "QEMU 7.2.22 is too old to emulate the guest's CPU" in said
    assert "Install QEMU 10 or newer" in said


def test_a_qemu_that_does_not_run(project: Project) -> None:
    code, said = with_program(project, QEMU, "echo no libfdt.so.1 >&2; exit 127").winvm("up")
    assert (code, "does not run: no libfdt.so.1. Install qemu-system-x86." in said) == (3, True), said


def test_kvm_that_is_demanded_and_broken(project: Project) -> None:
    version = 'echo "QEMU emulator version 10.0.2"'
    script = f'case "$*" in --version) {version};; *) echo "MSR 0x10a" >&2; exit 134;; esac'
    broken = with_program(project, QEMU, script)
    code, said = replace(broken, environment={**broken.environment, "WINVM_ACCEL": "kvm"}).winvm("run")
    assert code == 3
    assert "WINVM_ACCEL=kvm cannot be used" in said
    assert "Unset WINVM_ACCEL" in said


def test_an_accelerator_of_no_such_name(project: Project) -> None:
    code, said = replace(project, environment={"WINVM_ACCEL": "hvf"}).winvm("run")
    assert (code, "WINVM_ACCEL='hvf' names no accelerator. Use kvm or tcg" in said) == (2, True)


@needs_root
@pytest.mark.parametrize("command", [("run",), ("up",), ("image", "build")])
def test_without_root(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Runs as a user who may read the sources, and write a project and WINVM_HOME of his own."""
    folder = Path(tempfile.mkdtemp(prefix="wvu-"))
    try:
        project = Project.make(folder / "project", folder / "home")
        subprocess.run(["chown", "-R", "65534:65534", str(folder)], check=True)
        code, said = replace(project, user=65534).winvm(*command)
        assert (code, "needs root" in said, "sudo" in said) == (3, True, True), said
    finally:
        shutil.rmtree(folder)


def test_an_image_disk_that_was_changed(project: Project) -> None:
    disk = wine.find(project.home).disk  # type: ignore[union-attr]
    disk.write_bytes(b"A" + disk.read_bytes()[1:])  # the size stays right
    code, said = replace(project, environment={"WINVM_ACCEL": "tcg"}).winvm("run")
    assert code == 3
    assert "was changed: SHA-256" in said
    assert "winvm image build" in said


def test_an_image_disk_that_is_gone(project: Project) -> None:
    image = wine.find(project.home)
    assert image
    spec = MachineSpec.checked(image.folder, find_profile("wine"), Accelerator.TCG)
    spec.require_base()
    image.disk.unlink()
    with pytest.raises(ImageError, match=r"base\.qcow2 is gone\. .*winvm image build"):
        spec.require_base()


@needs_root
def test_no_disk_space_for_an_image(project: Project, small_disk: Callable[[str], Path]) -> None:
    code, said = replace(project, home=small_disk("64m") / "h").winvm("image", "build")
    assert code == 3
    assert "an image build takes" in said
    assert "WINVM_HOME" in said


@needs_root
def test_no_disk_space_for_an_overlay(project: Project, small_disk: Callable[[str], Path]) -> None:
    full = replace(project, home=small_disk("64m"), environment={"WINVM_ACCEL": "tcg"})
    code, said = full.with_image().winvm("run")
    assert code == 3
    assert "MiB free" in said
    assert "WINVM_HOME" in said


@needs_root
def test_no_disk_space_for_artifacts(project: Project, small_disk: Callable[[str], Path]) -> None:
    full = small_disk("16k")
    with (full / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    with (project.folder / "winvm.toml").open("a") as document:
        document.write(f'\n[artifacts]\nfolder = "{full}"\n')
    code, said = project.winvm("run")
    assert code == 3
    assert "No space left on device" in said
    assert "Free disk space" in said


@needs_root
def test_a_home_that_cannot_be_written(project: Project, small_disk: Callable[[str], Path]) -> None:
    home = small_disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
    code, said = replace(project, home=home).winvm("image", "build")
    assert (code, "Read-only file system" in said) == (3, True), said


def test_what_the_host_refuses_is_no_bug() -> None:
    error = as_winvm_error(OSError(errno.ENOSPC, "No space left on device", "/somewhere"))
    assert isinstance(error, HostError)
    assert error.message == "/somewhere: No space left on device."
    assert error.remedy
    assert as_winvm_error(error) is error


def test_a_bug_is_reported_in_one_line_and_kept_in_a_file(project: Project) -> None:
    (project.folder / "pefile.py").write_text("SECURITY = {}['no such key']\n")  # simulates a bug
    code, said = replace(
        project, environment={"PYTHONPATH": str(project.folder), "TMPDIR": str(project.folder)}
    ).winvm("build")
    assert code == 3
    (kept,) = project.folder.glob("winvm-error-*.txt")
    assert said == f"winvm: internal error: KeyError: 'no such key'. Please report it with {kept}."
    assert "pefile.py" in kept.read_text()


def test_a_bug_without_a_place_for_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    error = as_winvm_error(LookupError("x"))
    assert isinstance(error, InternalError)
    assert "LookupError: x" in error.detail


def interrupted(project: Project, command: str, by: signal.Signals) -> str:
    """What winvm says when it is interrupted while the driver is built."""
    waits = (
        (project.folder / "winvm.toml")
        .read_text()
        .replace('"cp", "tiny.sys"', '"sh", "-c", "touch building; sleep 60"')
    )
    (project.folder / "winvm.toml").write_text(waits)
    process = replace(project, environment={"WINVM_ACCEL": "tcg"}).start(command)
    end = time.monotonic() + 60
    while not (project.folder / "building").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(by)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not processes_in(project.folder), "the build ends with whatever it started"
    assert not (project.home / "runs").is_dir() or list((project.home / "runs").iterdir()) == []
    return said


@pytest.mark.parametrize("command", ["run", "up", "build"])
def test_ctrl_c_while_the_driver_is_built(project: Project, command: str) -> None:
    interrupted(project, command, signal.SIGINT)
    if command == "run":
        report = (project.folder / "artifacts" / "latest" / "report.html").read_text()
        assert "<h1>The run was aborted</h1>" in report
        assert "</b><br>Interrupted." in report


@pytest.mark.parametrize(
    ("by", "named"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
def test_the_signal_that_ended_a_run_is_said_in_a_line(
    project: Project, by: signal.Signals, named: str
) -> None:
    said = interrupted(project, "run", by)
    assert f"winvm: {named} ended the run." in said.splitlines()
    assert "KeyboardInterrupt" not in said
    assert "interrupts.py" not in said
