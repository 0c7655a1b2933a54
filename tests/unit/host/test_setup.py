"""vm/host/install.sh and the set-up of make, with apt, dpkg and id played by scripts that note the calls."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
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
