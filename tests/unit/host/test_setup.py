"""vm/host/install.sh and the set-up of make, with apt, dpkg and id played by scripts that note the calls."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSTALL = ROOT / "vm" / "host" / "install.sh"
OS_RELEASE = Path("/etc/os-release")

pytestmark = pytest.mark.skipif(
    "\nID=debian\n" not in f"\n{OS_RELEASE.read_text() if OS_RELEASE.exists() else ''}",
    reason="the script is for Debian",
)


@dataclass
class Host:
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def system(self, os_release: str, machine: str = "x86_64") -> None:
        """Makes this another distribution or processor."""
        (self.folder / "os-release").write_text(os_release)
        self.variables["WINVM_OS_RELEASE"] = str(self.folder / "os-release")
        self.program("uname", f"echo {machine}")

    def program(self, name: str, script: str) -> None:
        """Puts a program in front of the host's own; its calls are written down."""
        file = self.folder / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.folder}/calls\n{script}\n')
        file.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder),
            **self.variables,
        }
        for name in ("MAKEFLAGS", "MAKELEVEL"):  # of the make that runs these tests
            environment.pop(name, None)
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def calls(self) -> list[str]:
        calls = self.folder / "calls"
        return [line for line in calls.read_text().splitlines() if line.startswith("apt-get")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Root on a host with backports, where mmdebstrap and QEMU are missing and apt works."""
    host = Host(tmp_path)
    host.program("id", "echo 0")
    host.program("dpkg", "")
    host.program(
        "dpkg-query",
        'case "$*" in *mmdebstrap|*qemu-system-x86) exit 1 ;; *) echo "installed 1~bpo12+1" ;; esac',
    )
    host.program("apt-cache", '. /etc/os-release; echo "release n=$VERSION_CODENAME-backports"')
    host.program("apt-get", "echo words of apt")
    return host


def test_nothing_is_done_when_nothing_is_missing(host: Host) -> None:
    host.program("dpkg-query", "echo 'installed 1~bpo12+1'")
    done = host.run(str(INSTALL))
    assert (done.returncode, done.stdout, done.stderr, host.calls) == (0, "", "", [])


def test_what_is_missing_is_installed_and_said_in_a_line(host: Host) -> None:
    done = host.run(str(INSTALL))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert done.stdout.strip().endswith(": mmdebstrap qemu-system-x86")
    update, *installs = host.calls
    assert update.endswith(" update")
    assert " ".join(installs).count("--no-install-recommends") == len(installs)
    assert {"mmdebstrap", "qemu-system-x86"} <= {word for call in installs for word in call.split()}
    assert list(host.folder.glob("winvm-install.*")) == []


def test_what_apt_said_is_shown_when_it_fails(host: Host) -> None:
    host.program("apt-get", "echo words of apt; exit 100")
    done = host.run(str(INSTALL))
    assert done.returncode == 2
    assert "words of apt" in done.stderr
    (log,) = host.folder.glob("winvm-install.*")
    assert str(log) in done.stderr


def test_without_root_the_line_to_run_is_printed(host: Host) -> None:
    host.program("id", "echo 1000")
    done = host.run(str(INSTALL))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"\n    sudo {INSTALL}\n" in done.stderr
    assert "mmdebstrap qemu-system-x86" in done.stderr


def test_another_list_of_packages_can_be_named(host: Host) -> None:
    host.program("id", "echo 1000")
    host.program("dpkg-query", "exit 1")
    done = host.run(str(INSTALL), "test-packages.txt")
    assert done.returncode == 2
    assert f"\n    sudo {INSTALL} test-packages.txt\n" in done.stderr
    assert "missing: chromium-headless-shell" in done.stderr


@pytest.mark.parametrize("command", ["self-test", "image GUEST=wine"])
def test_without_root_make_says_so_before_it_sets_anything_up(host: Host, command: str) -> None:
    host.program("id", "echo 1000")
    done = host.run("make", *command.split())
    assert done.returncode == 2
    assert f"\n    sudo make {command}\n" in done.stderr
    assert done.stdout == ""


DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nPRETTY_NAME="Debian 13"\n'
UBUNTU = 'ID=ubuntu\nVERSION_ID="{0}"\nVERSION_CODENAME=x\nPRETTY_NAME="Ubuntu {0}"\n'


@pytest.mark.parametrize(
    "os_release", [DEBIAN_13, UBUNTU.format("26.04"), "ID=debian\nVERSION_CODENAME=sid\n"]
)
def test_newer_systems_need_no_backports(host: Host, os_release: str) -> None:
    host.system(os_release)
    done = host.run("sh", str(INSTALL))
    assert (done.returncode, done.stderr) == (0, "")
    _update, install = host.calls
    assert install.endswith(" install --no-install-recommends mmdebstrap qemu-system-x86")


@pytest.mark.parametrize(
    ("os_release", "reason"),
    [
        (UBUNTU.format("24.04"), "QEMU 8.2"),
        (UBUNTU.format("22.04"), "too old"),
        ('ID=debian\nVERSION_ID="11"\n', "too old"),
        ("ID=gentoo\nPRETTY_NAME=Gentoo\n", "neither Debian"),
    ],
)
def test_other_systems_are_refused_with_the_reason(host: Host, os_release: str, reason: str) -> None:
    host.system(os_release)
    done = host.run("sh", str(INSTALL))
    assert (done.returncode, done.stdout) == (2, "")
    assert "apt-get" not in (host.folder / "calls").read_text()  # uname was called
    assert reason in done.stderr


def test_an_arm64_host_is_told_before_anything_else(host: Host) -> None:
    host.system(DEBIAN_13, "aarch64")
    done = host.run("sh", str(INSTALL), "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "this host is aarch64" in done.stderr


def test_a_dry_run_says_what_and_installs_nothing(host: Host) -> None:
    host.system(DEBIAN_13)
    host.program("id", "echo 1000")
    done = host.run("sh", str(INSTALL), "--dry-run")
    assert (done.returncode, done.stdout) == (0, "apt: mmdebstrap qemu-system-x86\n")
    host.program("dpkg-query", "echo 'installed 1'")
    assert "Debian 13 has every package" in host.run("sh", str(INSTALL), "--dry-run").stdout


def test_fedora_by_its_own_names(host: Host) -> None:
    host.system("ID=fedora\nVERSION_ID=43\nPRETTY_NAME=Fedora\n")
    host.program("rpm", 'case "$*" in *qemu-img) exit 1 ;; *) echo "there" ;; esac')
    host.program("dnf", "")
    assert host.run("sh", str(INSTALL), "--dry-run").stdout == "dnf: qemu-img\n"
    assert host.run("sh", str(INSTALL)).returncode == 0
    assert "dnf install -y --setopt=install_weak_deps=False qemu-img" in (host.folder / "calls").read_text()


def test_arch_by_its_own_names_and_what_it_builds_by_hand(host: Host) -> None:
    host.system("ID=arch\nPRETTY_NAME=Arch\n")
    host.program("pacman", 'case "$*" in *mmdebstrap|*lld) exit 1 ;; *) echo "there" ;; esac')
    assert host.run("sh", str(INSTALL), "--dry-run").stdout == "pacman: lld\nthe AUR, by hand: mmdebstrap\n"
    done = host.run("sh", str(INSTALL))
    assert (done.returncode, "mmdebstrap" in done.stderr) == (2, True)
    host.program("pacman", 'case "$*" in "-Q lld") exit 1 ;; *) echo "there" ;; esac')
    assert host.run("sh", str(INSTALL)).returncode == 0
    assert "pacman -S --needed --noconfirm lld" in (host.folder / "calls").read_text()


@pytest.mark.parametrize("list_", ["packages.txt", "packages-fedora.txt", "packages-arch.txt"])
def test_every_list_says_why(list_: str) -> None:
    lines = [line.split(maxsplit=1) for line in (INSTALL.parent / list_).read_text().splitlines()]
    packages = [line for line in lines if line[0] != "#"]
    assert all(len(line) == 2 for line in packages)
    assert len({line[0] for line in packages}) == len(packages)


def test_the_command_runs_the_script(host: Host) -> None:
    host.system(UBUNTU.format("24.04"))
    done = host.run(sys.executable, "-m", "harness", "host", "install", "--dry-run")
    assert done.returncode == 3
    assert "QEMU 8.2" in done.stderr
    assert "Traceback" not in done.stderr
    host.system(DEBIAN_13)
    done = host.run(sys.executable, "-m", "harness", "host", "install", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "apt: mmdebstrap qemu-system-x86\n")
