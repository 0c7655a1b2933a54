"""Failures between host, agent and driver in a real guest: one paragraph for each, nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.guests.wine.guest import WineLink
from harness.run.live import RECORD, LiveGuest
from harness.run.pipeline import reach
from tests.fakes.tiny_driver import SOURCE, build_tiny_driver
from tests.vm.conftest import ROOT, CommandLine

HOSTILE = Path(__file__).parent / "bad" / "hostile.py"
INSUFFICIENT_RESOURCES = "(long)0xC000009A"
HARMLESS = '''
from agent import Context, scenario


@scenario
def nothing(t: Context) -> None:
    """Needs nothing."""
'''
PROJECT = """
[driver]
name = "{name}"
folder = "."
build = {build}
builds = ["release"]
contract = "{contract}"

[scenarios]
folders = ["scenarios"]
"""


@dataclass(frozen=True)
class Project:
    """A user's folder, and what a run in it left."""

    folder: Path
    winvm: CommandLine

    @classmethod
    def make(
        cls, folder: Path, winvm: CommandLine, scenarios: str, name: str, build: list[str], contract: str = ""
    ) -> Project:
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / "bad.py").write_text(scenarios)
        document = PROJECT.format(name=name, build=json.dumps(build), contract=contract)
        (folder / "winvm.toml").write_text(document)
        return cls(folder, winvm)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """`winvm run` here; a traceback or anything left running fails the test."""
        done = self.winvm.run("--config", str(self.folder / "winvm.toml"), "run", *arguments)
        assert b"Traceback" not in done.stdout + done.stderr, done.stderr.decode()
        assert list((self.winvm.home / "runs").iterdir()) == []
        assert self.winvm.qemus() == []
        return done

    def paragraph(self, done: subprocess.CompletedProcess[bytes]) -> str:
        """The error that ended a run, in one line."""
        return " ".join((done.stdout + done.stderr).decode().split())

    def artifact(self, name: str) -> Path:
        return self.folder / "artifacts" / "latest" / name

    def results(self) -> dict[str, dict[str, Any]]:
        scenarios = json.loads(self.artifact("results.json").read_text())["scenarios"]
        return {scenario["name"].partition(".")[2]: scenario for scenario in scenarios}


def tiny_driver(folder: Path, source: str) -> list[str]:
    """Builds `tiny.sys`; the build command that hands it over."""
    build_tiny_driver(folder, source)
    return ["cp", "tiny.sys", "{out}/tiny.sys"]


@pytest.fixture(scope="module")
def hostile(
    winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, subprocess.CompletedProcess[bytes]]:
    """One run of all the scenarios that treat the bench badly."""
    folder = tmp_path_factory.mktemp("hostile")
    make = ["make", "-C", str(ROOT / "driver"), "BUILD={build}", "OUT={out}"]
    project = Project.make(folder, winvm, HOSTILE.read_text(), "winvm", make)
    return project, project.run()


Ran = tuple[Project, subprocess.CompletedProcess[bytes]]


def test_the_worst_of_it_decides_the_exit_code(hostile: Ran) -> None:
    project, done = hostile
    assert done.returncode == 3  # some lost the guest
    assert {name: result["outcome"] for name, result in project.results().items()} == {
        "a_prints_100_megabytes": "passed",
        "b_kills_the_agent": "lost",
        "c_writes_garbage_to_the_host": "lost",
        "d_reboots_the_guest": "lost",
        "e_floods_the_host": "error",
        "f_is_well_behaved": "passed",
    }
    for name in ("run.jsonl", "dbgprint.log", "junit.xml"):
        assert project.artifact(name).stat().st_size


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("b_kills_the_agent", "its process exited with code 0x3"),
        ("c_writes_garbage_to_the_host", r"The agent printed 'Hello, \x1b[31mhost', which is not one of its"),
        ("d_reboots_the_guest", "The virtual machine ended by itself (shut down)."),
        ("e_floods_the_host", "The scenario did not end within 4 s, with no operation under way"),
    ],
)
def test_each_says_what_happened(hostile: Ran, name: str, says: str) -> None:
    project, done = hostile
    assert says in project.results()[name]["message"]
    assert name in done.stdout.decode()


def test_what_a_scenario_prints_is_cut_in_the_guest(hostile: Ran) -> None:
    notes = hostile[0].results()["a_prints_100_megabytes"]["notes"]
    assert 0 < sum(map(len, notes)) < 200_000


def test_a_driver_that_refuses_to_start(winvm: CommandLine, tmp_path: Path) -> None:
    source = SOURCE.replace("return 0;", f"return {INSUFFICIENT_RESOURCES};")
    project = Project.make(tmp_path, winvm, HARMLESS, "tiny", tiny_driver(tmp_path, source))
    done = project.run()
    assert done.returncode == 1
    assert "Windows did not start the driver service 'tiny'" in project.paragraph(done)
    assert "hello" in project.artifact("dbgprint.log").read_text()  # printed by the failing DriverEntry
    assert project.results() == {}


def test_a_call_that_wine_does_not_implement_is_no_riddle(winvm: CommandLine, tmp_path: Path) -> None:
    declaration = "__declspec(dllimport) void CcFlushCache(void *, void *, unsigned, void *);\n"
    source = declaration + SOURCE.replace("return 0;", "CcFlushCache(0, 0, 0, 0); return 0;")
    project = Project.make(tmp_path, winvm, HARMLESS, "tiny", tiny_driver(tmp_path, source))
    done = project.run()
    assert done.returncode == 1
    said = project.paragraph(done)
    assert "ntoskrnl.exe!CcFlushCache is not implemented by Wine: calling it ends the driver" in said
    assert "call of ntoskrnl.exe.CcFlushCache, which is not implemented by Wine." in said
    assert (project.artifact("crashes") / "01-loaded" / "crash.json").is_file()


def test_a_driver_of_another_contract(winvm: CommandLine, tmp_path: Path) -> None:
    """The sample driver, built with one byte of its contract's hash changed."""
    make = f"make -s -C {ROOT / 'driver'} BUILD={{build}} OUT={{out}}"
    change = "sed -i 's/0x[0-9a-f][0-9a-f]/0x00/' {out}/winvm_contract_hash.h"
    build = ["sh", "-ec", f"{make}; {change}; {make}"]
    project = Project.make(tmp_path, winvm, HARMLESS, "winvm", build, contract="contract")
    shutil.copy(ROOT / "guest" / "scenarios" / "contract.py", tmp_path / "scenarios")
    done = project.run()
    assert done.returncode == 2
    said = project.paragraph(done)
    assert "were built from different contracts" in said
    assert "Build both from the same header" in said


@pytest.fixture
def strangers_image(winvm: CommandLine, up: LiveGuest, tmp_path: Path) -> Iterator[Path]:
    """A copy of the image's folder, recorded as that of the guest that is up; tests damage it."""
    image = tmp_path / "image"
    image.mkdir()
    for entry in up.image.iterdir():
        (image / entry.name).symlink_to(entry)
    (image / "secrets").unlink()
    shutil.copytree(up.image / "secrets", image / "secrets")
    record = up.folder / RECORD
    kept = record.read_text()
    record.write_text(up.model_copy(update={"image": image}).model_dump_json())
    yield image
    record.write_text(kept)


def refused(winvm: CommandLine, *arguments: str) -> str:
    done = winvm.run(*arguments)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    return " ".join(done.stderr.decode().split())


def test_a_wrong_password(winvm: CommandLine, strangers_image: Path) -> None:
    (strangers_image / "secrets" / "password").write_text("guess\n")
    said = refused(winvm, "exec", "--", "cmd.exe", "/c", "ver")
    assert "refused the password of user 'winvm'" in said
    assert "guess" not in said


def test_a_wrong_certificate(winvm: CommandLine, strangers_image: Path) -> None:
    certificate = strangers_image / "secrets" / "certificate.pem"
    key = strangers_image / "secrets" / "key.pem"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(made.split(), check=True, capture_output=True)
    assert "is not the image's own" in refused(winvm, "exec", "--", "cmd.exe", "/c", "ver")


def test_a_wrong_host_key(winvm: CommandLine, strangers_image: Path, tmp_path: Path) -> None:
    secrets = strangers_image / "secrets"
    shutil.copy(secrets / "client_ed25519.pub", secrets / "ssh_host_ed25519_key.pub")
    said = refused(winvm, "pull", r"C:\winvm\winrmd.log", str(tmp_path / "log"))
    assert "is not the image's own" in said
    assert not (tmp_path / "log").exists()


def test_an_image_that_was_deleted_under_its_guest(winvm: CommandLine, strangers_image: Path) -> None:
    (strangers_image / "base.qcow2").unlink()
    said = refused(winvm, "exec", "--", "cmd.exe", "/c", "ver")
    assert "base.qcow2 is missing" in said
    assert "winvm image build" in said


def test_a_guest_that_went_away(winvm: CommandLine, up: LiveGuest) -> None:
    link = reach(up)
    try:
        reboot = "setsid sh -c 'sleep 0.3; echo b > /proc/sysrq-trigger' </dev/null >/dev/null 2>&1 &"
        assert isinstance(link, WineLink)
        link.files.execute(reboot, Deadline.after(10))
    finally:
        link.close()
    gone = winvm.run("exec", "--", "cmd.exe", "/c", "ping -n 3 127.0.0.1")
    assert gone.returncode in (2, 3)
    assert b"winvm up" in gone.stderr
    assert winvm.ok("down")
