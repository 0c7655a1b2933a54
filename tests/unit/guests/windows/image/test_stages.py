"""Stages that a build goes on from, what a failed installation leaves, and what an image says of itself."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import Invocation
from harness.commands.image import image
from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.guests.windows.flavour import FLAVOUR
from harness.guests.windows.image.aftermath import LIST, LOGS, collect
from harness.guests.windows.image.build import build
from harness.guests.windows.image.guestjournal import Entry
from harness.guests.windows.image.installation import Report
from harness.guests.windows.image.manifest import manifest, report_record
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.preparation import Preparation, Request, prepare, record_of
from harness.guests.windows.image.stages import PROVISIONED, SET_UP, Stages
from harness.guests.windows.image.wim import WimImage
from harness.images.evidence import FILE_LIMIT, pack, without
from harness.journal import Event, Journal
from harness.machine.accelerator import Accelerator
from tests.fakes.profiles import windows_profile
from tests.fakes.windows_disk import needs_fuse, windows_disk
from tests.fakes.windows_media import ENTERPRISE_11, windows_iso
from tests.unit.commands.test_windows_image import sealed

PROFILE = windows_profile("windows-11")
SERVER = windows_profile("windows-server-2025")


def disk(folder: Path, content: bytes = b"disk") -> Path:
    made = folder / "machine.qcow2"
    made.write_bytes(content)
    return made


def test_a_stage_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    stages = Stages.of(tmp_path, "windows-11")
    assert stages.kept(SET_UP) is None
    stages.begin()
    assert stages.folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "nvram").write_bytes(b"variables")
    stages.keep(SET_UP, disk(tmp_path), tmp_path / "nvram", {"setup": "abc"})
    found = stages.kept(SET_UP)
    assert found is not None
    assert found["setup"] == "abc"
    assert [file.read_bytes() for file in stages.files(SET_UP)] == [b"disk", b"variables"]
    assert stages.kept(PROVISIONED) is None
    stages.keep(PROVISIONED, disk(tmp_path, b"overlay"), None, {"digest": "d"})
    assert (stages.kept(PROVISIONED) or {})["digest"] == "d"
    stages.files(SET_UP)[1].unlink()
    assert stages.kept(SET_UP) is None, "its firmware variables are gone"
    with stages.files(PROVISIONED)[0].open("ab") as file:
        stages.files(PROVISIONED)[0].chmod(0o600)
        file.write(b"x")
    assert stages.kept(PROVISIONED) is None, "its disk is another one"


def test_a_new_installation_has_new_secrets_and_no_old_stage(tmp_path: Path) -> None:
    stages = Stages.of(tmp_path, "windows-11")
    stages.begin()
    stages.keep(SET_UP, disk(tmp_path), None, {})
    before = stages.secrets.password
    stages.begin()
    assert stages.secrets.password != before
    assert stages.kept(SET_UP) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"bytes": 4}', b'{"bytes": "4", "nvram": false}'])
def test_a_damaged_record_is_none(damage: bytes, tmp_path: Path) -> None:
    stages = Stages.of(tmp_path, "windows-11")
    stages.begin()
    stages.keep(SET_UP, disk(tmp_path), None, {})
    (stages.folder / "setup.json").write_bytes(damage)
    assert stages.kept(SET_UP) is None


@needs_fuse()
def test_the_logs_are_copied_out_without_secrets(tmp_path: Path) -> None:
    secret = "pa55-word"
    (tmp_path / "act").write_bytes(b"Setup\r\n" + secret.encode() + b"\r\n" + secret.encode("utf-16-le"))
    (tmp_path / "xml").write_bytes(secret.encode())
    files = {LOGS[0]: tmp_path / "act", "winvm/provision/journal.jsonl": tmp_path / "act"}
    made = windows_disk(tmp_path, {**files, "Windows/Panther/unattend.xml": tmp_path / "xml"})
    copied = collect(made, tmp_path / "logs", [secret], Deadline.after(120))
    names = {"2-Windows-Panther-setupact.log", "2-winvm-provision-journal.jsonl"}
    assert {file.name for file in copied} == names
    content = b"".join(file.read_bytes() for file in (tmp_path / "logs").iterdir())
    assert b"Setup" in content
    assert secret.encode() not in content
    assert secret.encode("utf-16-le") not in content
    assert f"partition 2, {LOGS[0]}, " in (tmp_path / "logs" / LIST).read_text()


def test_a_disk_that_cannot_be_read_is_no_second_failure(tmp_path: Path) -> None:
    assert collect(disk(tmp_path), tmp_path / "logs", [], Deadline.after(60)) == []
    assert "Not read further: " in (tmp_path / "logs" / LIST).read_text()


def test_the_longest_secret_is_replaced_first() -> None:
    assert without(b"abcd ab", ["ab", "abcd", ""]) == b"*** ***"


def test_a_report_names_what_it_packs_and_holds_no_secret_of_any_image(tmp_path: Path) -> None:
    made = sealed(tmp_path)
    evidence = tmp_path / "installations" / "windows-11"
    (evidence / "screenshots").mkdir(parents=True)
    for minute in range(40):
        (evidence / "screenshots" / f"{minute:04}.png").write_bytes(b"PNG")
    (evidence / "journal.jsonl").write_text(made.secrets.password)
    (evidence / "link").symlink_to("/etc/passwd")
    names = pack(tmp_path, "windows-11", tmp_path / "out.zip", {"winvm": "1"})
    assert {"journal.jsonl", "facts.json"} < set(names)
    assert len(names) == 32
    assert "link" not in names
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("journal.jsonl") == b"***"
    with pytest.raises(ConfigurationError, match="cannot be written"):
        pack(tmp_path, "windows-11", tmp_path / "out.zip", {})
    with pytest.raises(ConfigurationError, match="no evidence"):
        pack(tmp_path, "windows-10", tmp_path / "other.zip", {})


def test_only_an_image_that_is_made_in_stages_is_provisioned_again(tmp_path: Path) -> None:
    result = CliRunner().invoke(image, ["provision", "wine"], obj=Invocation(None))
    assert isinstance(result.exception, ConfigurationError)
    assert "not made in stages" in result.exception.message
    with pytest.raises(ConfigurationError, match="No end of Windows Setup is kept"):
        build(Request(PROFILE, None), tmp_path, Journal())


@pytest.fixture
def preparation(tmp_path: Path) -> Preparation:
    iso = windows_iso(tmp_path / "iso", ENTERPRISE_11)
    home = tmp_path / "home"
    home.mkdir()
    shared = Path.home() / ".cache" / "winvm" / "downloads"
    if shared.is_dir():
        shutil.copytree(shared, home / "downloads")
    return prepare(Request(PROFILE, iso), home, Journal())


def test_provisioning_may_change_without_setup(preparation: Preparation) -> None:
    setup = preparation.setup_digest("0" * 64)
    provision = PROFILE.provision.model_copy(update={"dump": "complete"})
    memory = PROFILE.hardware.model_copy(update={"memory_mib": 8192, "kd": "none"})
    firmware = PROFILE.hardware.model_copy(update={"firmware": "bios"})

    def changed(**update: object) -> Preparation:
        request = dataclasses.replace(preparation.request, profile=PROFILE.model_copy(update=update))
        return dataclasses.replace(preparation, request=request)

    for other in (changed(provision=provision), changed(hardware=memory)):
        assert other.setup_digest("0" * 64) == setup
        assert other.digest(setup) != preparation.digest(setup)
    assert changed(hardware=firmware).setup_digest("0" * 64) != setup
    assert preparation.setup_digest("1" * 64) != setup
    record = json.loads(json.dumps(record_of(preparation, "0" * 64)))
    again = prepare(Request(PROFILE, None), preparation.python.parents[1], Journal(), record)
    assert again.choice.image == preparation.choice.image
    assert again.digest(record["setup"]) == preparation.digest(setup)


def checks(**found: str) -> Report:
    entries = [Entry("activation", "check", "ok", setting=name, found=value) for name, value in found.items()]
    return Report(tuple(entries), 10.0)


@pytest.mark.parametrize(
    ("kind", "report", "days"),
    [
        ("Server", checks(LicenseStatus="1", EvaluationEndDate="2027-05-29"), 180),
        ("Server", checks(LicenseStatus="2", GracePeriodRemaining="14400"), 10),
        ("Server", checks(LicenseStatus="1", EvaluationEndDate="1601-01-01", GracePeriodRemaining="60"), 0),
        ("Server", checks(LicenseStatus="unreadable", GracePeriodRemaining="unreadable"), 10),
        ("Server", checks(), 10),
        ("Client", checks(LicenseStatus="2", GracePeriodRemaining="10080"), 7),
        ("Client", checks(), 90),
    ],
)
def test_the_manifest_says_until_when_an_evaluation_runs(
    kind: str, report: Report, days: int, preparation: Preparation
) -> None:
    edition = "ServerStandardEval" if kind == "Server" else "EnterpriseEval"
    wim = WimImage(1, "", edition, kind, "amd64", 26100, 1, ("en-US",), 0)
    installed = {**record_of(preparation, ""), "installed": "2026-11-30T00:00:00+00:00", "seconds": 1}
    prepared = dataclasses.replace(preparation, choice=Choice(wim, "", "en-US"))
    found = manifest(prepared, "d", "kvm", installed, report_record(report))
    assert date.fromisoformat(found["runs_out"]) - date(2026, 11, 30) == timedelta(days=days)
    assert found["licence"] == {entry.setting: entry.found for entry in report.checks}


def test_a_wished_setting_that_is_not_there_is_a_warning_of_the_image(tmp_path: Path) -> None:
    wrong = Entry("updates", "check", "wrong", "", "wuauserv start", "DWORD 4", "DWORD 3", "yes")
    kept = report_record(Report((wrong, Entry("a", "check", "ok", "", "b", "1", "1")), 1.0))
    assert kept["warnings"] == ["updates: wuauserv start is DWORD 3, not DWORD 4"]
    made = sealed(tmp_path, warnings=kept["warnings"])
    assert made.warnings == ("updates: wuauserv start is DWORD 3, not DWORD 4",)
    listed = CliRunner().invoke(image, ["list"], env={"WINVM_HOME": str(tmp_path)})
    assert "warning: updates: wuauserv start is DWORD 3, not DWORD 4" in listed.output
    as_json = CliRunner().invoke(image, ["list", "--json"], env={"WINVM_HOME": str(tmp_path)})
    assert json.loads(as_json.output)["warnings"] == kept["warnings"]


@pytest.mark.parametrize(("left", "warned"), [(-1, "ended on"), (0, "ends on"), (2, "ends on"), (3, "")])
def test_runs_warn_from_two_days_before_the_end(left: int, warned: str, tmp_path: Path) -> None:
    ends = datetime.now(UTC).date() + timedelta(days=left)
    sealed(tmp_path, runs_out=ends.isoformat())
    journal, said = Journal(), list[Event]()
    journal.listen(said.append)
    FLAVOUR.find(PROFILE, Accelerator.KVM, tmp_path, journal, "")
    texts = [str(event["text"]) for event in said if event["event"] == "warning"]
    assert len(texts) == bool(warned)
    assert all(warned in text for text in texts)


@pytest.mark.parametrize("drivers", [[], ["fwcfg"]])
def test_a_machine_that_stops_at_a_bugcheck_needs_a_way_to_its_dump(
    drivers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no elf2dmp here
    sealed(tmp_path, drivers=drivers)
    hardware = PROFILE.hardware.model_copy(update={"on_bugcheck": "stop"})
    stopping = PROFILE.model_copy(update={"hardware": hardware, "image_of": PROFILE})
    if drivers:
        FLAVOUR.find(stopping, Accelerator.KVM, tmp_path, Journal(), "")
        return
    with pytest.raises(ConfigurationError, match="no dump could be made") as caught:
        FLAVOUR.find(stopping, Accelerator.KVM, tmp_path, Journal(), "")
    assert "--virtio-iso" in caught.value.remedy


def test_a_report_leaves_out_what_is_too_large(tmp_path: Path) -> None:
    logs = tmp_path / "installations" / "windows-11" / "logs"
    logs.mkdir(parents=True)
    for name, size in (("huge", FILE_LIMIT + 1), ("fits", 10)):
        with (logs / name).open("wb") as file:
            file.truncate(size)
    assert pack(tmp_path, "windows-11", tmp_path / "out.zip", {}) == ["facts.json", "logs/fits"]
