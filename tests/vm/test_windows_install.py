"""A real installation from an ISO, from its metadata to the sealed image, without Windows itself.

A boot sector stands in for Setup (install_payload.S): it waits for a key, writes the journal to COM2, writes
itself to the disk, restarts, goes on from the disk, and switches the machine off.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ImageError
from harness.guests.windows.image.sealed import find, list_windows_images, load
from harness.images.base import verify
from harness.machine.processes import qemu_processes
from harness.project import config
from tests.fakes.windows_media import ENTERPRISE_11, windows_iso

ROOT = Path(__file__).parents[2]
WINVM = str(Path(sys.executable).with_name("winvm"))
SOURCE = Path(__file__).with_name("install_payload.S")
WINDOWS_10 = {**ENTERPRISE_11, "VERSION/BUILD": "19041"}


def payload(folder: Path, *options: str) -> bytes:
    """The boot sector and what belongs to it, assembled."""
    made, linked = str(folder / "payload.o"), folder / "payload.bin"
    subprocess.run(
        ["clang-19", "-c", "--target=i386-none-none", *options, str(SOURCE), "-o", made], check=True
    )
    link = ["ld.lld-19", "-e", "start", "-Ttext=0x7c00", "--oformat=binary", made, "-o", str(linked)]
    subprocess.run(link, check=True)
    return linked.read_bytes()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A bench's home of its own: its images must not be taken for real ones. Downloads are the usual ones."""
    usual = config.home()
    (usual / "downloads").mkdir(parents=True, exist_ok=True)
    # Short: libvirt's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="winvm-install-") as name:
        (Path(name) / "downloads").symlink_to(usual / "downloads")
        yield Path(name)


def command(iso: Path | None, *options: str) -> list[str]:
    named = [str(iso)] if iso else []
    return [sys.executable, "-m", "tests.vm.windows_installing", *named, *options]


def building(home: Path, iso: Path | None, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code of a build, and what it printed."""
    done = subprocess.run(
        command(iso, *options),
        cwd=ROOT,
        env={**os.environ, "WINVM_HOME": str(home), "WINVM_ACCEL": "tcg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def left_behind(home: Path) -> list[str]:
    """Leftovers of a build: incomplete images, run folders, QEMU processes."""
    halves = [path.name for path in (home / "images").glob(".install-*")]
    return [*halves, *(path.name for path in (home / "runs").glob("*"))] + [
        f"QEMU {pid}" for pid in qemu_processes(home)
    ]


def test_a_dry_run_writes_all_that_would_be_used_and_starts_nothing(home: Path, tmp_path: Path) -> None:
    iso, target = windows_iso(tmp_path, ENTERPRISE_11), tmp_path / "dry"
    done = subprocess.run(
        [WINVM, "image", "build", "windows-11", "--iso", iso, "--dry-run", target, "--json"],
        env={**os.environ, "WINVM_HOME": str(home), "WINVM_ACCEL": "tcg"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    files = {
        Path(path).relative_to(target).as_posix(): Path(path) for path in json.loads(done.stdout)["files"]
    }
    assert {"autounattend.xml", "configuration.iso", "configuration.txt", "domain.xml"} < files.keys()
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert target.stat().st_mode & 0o777 == 0o700
    subprocess.run(["virt-xml-validate", files["domain.xml"], "domain"], check=True, capture_output=True)
    listed = subprocess.run(
        ["isoinfo", "-J", "-f", "-i", files["configuration.iso"]], capture_output=True, text=True, check=True
    ).stdout.split()
    on_it = {line.split()[1] for line in files["configuration.txt"].read_text().splitlines()}
    assert {f"/{path}" for path in on_it} <= set(listed)
    assert {"autounattend.xml", "winvm/python.zip", "winvm/provision.json"} <= on_it
    command = files["qemu.txt"].read_text()
    assert str(iso) in command
    assert str(files["configuration.iso"]) in command
    assert "OVMF_CODE" in command
    password = files["secrets/password"].read_text()
    assert password not in done.stdout + done.stderr + files["domain.xml"].read_text() + command
    assert left_behind(home) == []


@pytest.fixture(scope="module")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("iso")
    return windows_iso(folder, WINDOWS_10, boot=payload(folder))


@pytest.fixture(scope="module")
def hanging_iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hanging")
    return windows_iso(folder, WINDOWS_10, boot=payload(folder, "-DHANG"))


def test_an_installation_that_stalls_is_given_up_with_its_last_screenshot(
    home: Path, hanging_iso: Path
) -> None:
    code, said = building(home, hanging_iso, "--stall", "5")
    assert code == 3
    assert "have not changed for 5 s (Windows Setup, copying)" in said["error"]
    screenshot = home / "installations" / "windows-10" / "last.png"
    assert str(screenshot) in said["remedy"]
    assert screenshot.read_bytes().startswith(b"\x89PNG")
    assert "setup windowsPE: running" in said["detail"]
    assert list_windows_images(home) == []
    assert left_behind(home) == []


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_installation_that_is_interrupted_leaves_no_image(
    home: Path, hanging_iso: Path, kill: signal.Signals
) -> None:
    process = subprocess.Popen(
        command(hanging_iso),
        cwd=ROOT,
        env={**os.environ, "WINVM_HOME": str(home), "WINVM_ACCEL": "tcg"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if line.strip() == "image: Windows Setup, copying":
            break
    process.send_signal(kill)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert find(home, "windows-10") is None
    if kill is signal.SIGINT:
        assert left_behind(home) == []
    else:
        assert left_behind(home) != []  # the next build, below, removes it


def test_an_installation_from_the_iso_to_the_sealed_image(home: Path, iso: Path) -> None:
    code, said = building(home, iso)
    assert code == 0, said
    image = find(home, "windows-10")
    assert image is not None
    assert str(image.folder) == said["folder"]
    assert left_behind(home) == []
    assert [step for step in said["steps"] if "Windows" in step or "set up" in step or "first" in step] == [
        "image: Windows Python, downloaded by hash, signatures verified",
        "image: Windows Setup, starting",
        "image: Windows Setup, copying",
        "image: Windows Setup, configuring",
        "image: first logon",
        "image: shutdown of Windows",
        "image: start of the installed Windows",
        "image: set up test signing",
        "image: shutdown of Windows",
    ]
    manifest = json.loads((image.folder / "manifest.json").read_text())
    assert manifest["iso"]["bytes"] == iso.stat().st_size
    assert manifest["versions"]["windows"] == "10.0.19041.1742"
    assert manifest["checks"] == [
        {"step": "test signing", "setting": "testsigning", "state": "ok", "found": "Yes"}
    ]
    built = datetime.date.fromisoformat(manifest["built"][:10])
    assert image.runs_out == built + datetime.timedelta(days=90), "of an evaluation"
    verify(image)
    assert image.disk.stat().st_mode & 0o777 == 0o400
    assert image.secrets.folder.stat().st_mode & 0o777 == 0o700
    assert not list(image.folder.rglob("*.iso"))  # the configuration ISO, a secret, is gone
    assert list((image.folder / "install" / "screenshots").glob("*.png"))
    assert (image.folder / "install" / "journal.jsonl").read_text().count("\n") == 9


def test_what_setup_wrote_is_on_the_disk(home: Path, tmp_path: Path) -> None:
    image = find(home, "windows-10")
    assert image is not None
    raw = tmp_path / "sector"
    convert = ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=512", "count=4"]
    subprocess.run([*convert, f"if={image.disk}", f"of={raw}"], check=True)
    assert raw.read_bytes() == payload(tmp_path)


def test_a_sealed_image_is_not_installed_again(home: Path, iso: Path) -> None:
    before = find(home, "windows-10")
    code, said = building(home, iso)
    assert code == 0
    assert before is not None
    assert said["folder"] == str(before.folder)
    assert not any("Setup" in step for step in said["steps"])


def test_a_damaged_image_is_no_image(home: Path) -> None:
    image = find(home, "windows-10")
    assert image is not None
    image.disk.chmod(0o644)
    with image.disk.open("ab") as disk:
        disk.write(b"x")
    with pytest.raises(ImageError, match="not the"):
        load(image.folder)
    assert find(home, "windows-10") is None


@pytest.fixture(scope="module")
def failing_iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failing")
    return windows_iso(folder, WINDOWS_10, boot=payload(folder, "-DFAIL"))


def test_a_provisioning_that_failed_is_repeated_without_setup(home: Path, failing_iso: Path) -> None:
    code, said = building(home, failing_iso)
    assert code == 3
    assert "sshd is not as wanted" in said["error"]
    assert "winvm image report windows-10" in said["detail"]
    evidence = home / "installations" / "windows-10"
    assert "NTFS" in (evidence / "logs" / "logs.txt").read_text()
    assert json.loads((evidence / "error.json").read_text())["error"] == said["error"]
    stage = home / "images" / ".stage-windows-10"
    setup = json.loads((stage / "setup.json").read_text())
    assert setup["iso"]["name"] == failing_iso.name
    assert not (stage / "provisioned.json").exists()
    # The same again from the end of Setup; it fails again, since nothing was mended.
    code, said = building(home, failing_iso, "--resume", "--keep")
    assert code == 3
    before = (stage / "setup.json").stat().st_mtime_ns
    assert (stage / "failed.qcow2").exists()
    assert str(stage / "failed.qcow2") in said["detail"]
    code, said = building(home, None)
    assert code == 3
    assert (stage / "setup.json").stat().st_mtime_ns == before
    assert left_behind(home) == []


def test_the_evidence_of_a_failure_is_one_archive_without_secrets(home: Path, tmp_path: Path) -> None:
    secret = (home / "images" / ".stage-windows-10" / "secrets" / "password").read_text().strip()
    (home / "installations" / "windows-10" / "logs" / "panther.log").write_bytes(secret.encode("utf-16-le"))
    target = tmp_path / "report.zip"
    subprocess.run(
        [WINVM, "image", "report", "windows-10", "--output", target],
        env={**os.environ, "WINVM_HOME": str(home)},
        cwd=tmp_path,
        check=True,
    )
    with zipfile.ZipFile(target) as archive:
        names = set(archive.namelist())
        content = b"".join(archive.read(name) for name in names)
    assert {"journal.jsonl", "last.png", "error.json", "facts.json", "logs/logs.txt"} <= names
    assert any(name.startswith("screenshots/") for name in names)
    assert secret.encode() not in content
    assert secret.encode("utf-16-le") not in content
    assert target.stat().st_mode & 0o777 == 0o600


def test_other_settings_are_provisioned_onto_the_same_installation(home: Path, iso: Path) -> None:
    """As `winvm image provision` does: Setup has run once, and its ISO is not needed again."""
    code, said = building(home, iso, "--keep", "--dump", "small")
    assert code == 0, said
    assert "image: Windows Setup, starting" in said["steps"]
    again, there = building(home, None, "--dump", "complete")
    assert again == 0, there
    assert "image: Windows Setup, starting" not in there["steps"]
    first, second = load(Path(said["folder"])), load(Path(there["folder"]))
    assert first.settings != second.settings
    assert first.secrets.password == second.secrets.password, "Windows has it since Setup"
    assert not (home / "images" / ".stage-windows-10").exists()
    code, said = building(home, None)
    assert code == 2
    assert "winvm image build windows-10 --iso PATH --keep" in said["remedy"]
