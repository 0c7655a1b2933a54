"""The zipapp as it is shipped, its journal, and the files it brings to the machine's own disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from provision.journal import Journal
from provision.machine import ProvisionError
from provision.settings import parse
from provision.staging import FOLDER, PROGRAM, PYTHON_FOLDER, RESUME, stage
from provision.supplied import Supplied, supplied

from harness.errors import ConfigurationError
from harness.toolchain.provision import build_provision, check_settings
from tests.fakes.provision_machine import Run, certificate, full, prepared

SETTINGS = parse(json.dumps(full()).encode())
CD = r"E:\winvm"


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_provision(tmp_path_factory.mktemp("zipapp") / "new" / "provision.pyz")


def test_equal_sources_give_equal_bytes(pyz: Path, tmp_path: Path) -> None:
    assert build_provision(tmp_path / "other.pyz").read_bytes() == pyz.read_bytes()


def test_settings_of_use_pass(pyz: Path, tmp_path: Path) -> None:
    settings = tmp_path / "provision.json"
    settings.write_text(json.dumps(full()))
    check_settings(pyz, settings)


def test_other_settings_are_refused_with_every_reason(pyz: Path, tmp_path: Path) -> None:
    settings = tmp_path / "provision.json"
    settings.write_text(json.dumps({**full(), "quiet": 1, "jurnal": "COM2"}))
    with pytest.raises(ConfigurationError) as caught:
        check_settings(pyz, settings)
    assert "quiet must be true or false; it is 1; jurnal is not a known key" in caught.value.message


def test_settings_that_are_missing_are_refused(pyz: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        check_settings(pyz, tmp_path / "provision.json")


def test_only_windows_is_provisioned(pyz: Path, tmp_path: Path) -> None:
    settings = tmp_path / "provision.json"
    settings.write_text(json.dumps(full()))
    done = subprocess.run([sys.executable, str(pyz), str(settings)], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Only Windows can be provisioned" in done.stderr


def test_everything_that_a_resumed_run_needs_is_brought_to_the_disk() -> None:
    machine = prepared(CD)
    machine.files[r"e:\winvm\provision.pyz"] = b"PK"
    machine.files[r"e:\winvm\python\python.exe"] = b"MZ"
    stage(SETTINGS, CD, rf"{CD}\provision.pyz", rf"{CD}\python", machine)
    program, _, arguments = RESUME.partition(" ")
    assert program.lower() in machine.files
    assert PYTHON_FOLDER in program
    assert arguments == rf"{PROGRAM} --resume {FOLDER}\provision.json"
    assert machine.files[PROGRAM.lower()] == b"PK"
    run = Run(machine)
    assert run.whole().value == 0, run.wrong()
    assert rf"{CD}\provision.json".lower() in machine.files


def test_what_is_there_already_is_not_copied_again() -> None:
    machine = prepared()
    before = machine.changes
    stage(SETTINGS, FOLDER + "\\", PROGRAM.upper(), PYTHON_FOLDER, machine)
    assert machine.changes == before


@pytest.mark.parametrize("name", ["winrm.pfx", "provision.json", r"openssh\sshd.exe"])
def test_a_file_that_the_medium_lacks_is_named(name: str) -> None:
    machine = prepared(CD)
    for path in [path for path in machine.files if name.partition("\\")[0] in path]:
        del machine.files[path]
    with pytest.raises(ProvisionError, match=name.partition("\\")[0]):
        stage(SETTINGS, CD, PROGRAM, PYTHON_FOLDER, machine)


def test_a_file_that_the_settings_name_must_be_there() -> None:
    machine = prepared()
    machine.remove_file(rf"{FOLDER}\test.cer")
    with pytest.raises(ProvisionError, match=r"the file test\.cer, which is missing"):
        supplied(SETTINGS, FOLDER, machine)


def test_a_thumbprint_is_that_of_the_certificate_in_pem_and_der() -> None:
    pem, _, thumbprint = certificate()
    der = subprocess.run(["openssl", "x509", "-outform", "der"], input=pem, capture_output=True, check=True)
    files = Supplied(FOLDER, {"pem": b"Subject: CN=winvm\n" + pem, "der": der.stdout})
    assert files.thumbprint("pem") == files.thumbprint("der") == thumbprint.lower()


def test_the_journal_of_a_whole_run(golden: Callable[[str, str], None]) -> None:
    run = Run(prepared())
    run.whole()
    journal = b"".join(run.lines).decode()
    golden("provision/journal.jsonl", journal.replace(certificate()[2].lower(), "<thumbprint>"))


def test_a_line_is_ascii_and_short_whatever_a_tool_printed() -> None:
    lines: list[bytes] = []
    Journal([lines.append]).write(
        "s", "apply", "failed", 1.0, "Zugriff verweigert: ü\r\n\x1b[31m" + "x" * 10_000
    )
    assert len(lines) == 1
    assert lines[0].isascii()
    assert lines[0].count(b"\n") == 1
    assert b"\x1b" not in lines[0]
    assert len(lines[0]) < 1200


def test_a_secret_within_another_is_masked_whole() -> None:
    lines: list[bytes] = []
    Journal([lines.append], ["pass", "password 1"]).write(
        "s", "apply", "failed", 0, "a password 1, a pass", found="pass"
    )
    event = json.loads(lines[0])
    assert event["message"] == "a ***, a ***"
    assert event["found"] == "***"


def test_every_sink_gets_every_line_also_when_another_fails() -> None:
    one: list[bytes] = []
    other: list[bytes] = []

    def unplugged(line: bytes) -> None:
        raise OSError("the port is gone")

    Journal([one.append, unplugged, other.append]).write("s", "check", "ok", setting="x")
    assert one == other
    assert json.loads(one[0])["setting"] == "x"
