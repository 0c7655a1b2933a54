"""The configuration ISO and what is on it, read back with another program than the one that writes it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from provision.runner import Outcome

from harness.deadline import Deadline
from harness.errors import ConfigurationError, ImageError
from harness.guests.windows.image import python
from harness.guests.windows.image.configuration import ANSWER_FILE, contents, listing, write_iso
from harness.guests.windows.image.credentials import WindowsSecrets, make_windows_secrets
from harness.guests.windows.image.drivers import read_drivers
from harness.guests.windows.image.openssh import NEEDED, read_openssh
from harness.guests.windows.image.provisioning import RESERVED, Driver, files, program, ssh_source
from harness.guests.windows.spec.profile import WindowsProfile
from harness.project.profiles import shipped
from tests.fakes.provision_machine import Run, full, prepared

PROFILES = {profile.name: profile for profile in shipped(WindowsProfile)}
DRIVER = Driver("mydriver", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> WindowsSecrets:
    return make_windows_secrets(tmp_path_factory.mktemp("image") / "secrets")


def isoinfo(iso: Path, *options: str) -> bytes:
    return subprocess.run(["isoinfo", "-i", iso, *options], capture_output=True, check=True).stdout


def test_what_is_written_is_read_back_by_isoinfo(tmp_path: Path) -> None:
    iso = tmp_path / "configuration.iso"
    written = {
        "autounattend.xml": b"<unattend/>",
        "winvm/start.cmd": b"@echo off\r\n",
        "winvm/ssh_host_ed25519_key": b"key",
        "winvm/empty": b"",
        "winvm/openssh/install-sshd.ps1": b"x" * 5000,
        "drivers/viostor/viostor.inf": b"[Version]",
    }
    write_iso(iso, written)
    listed = isoinfo(iso, "-J", "-f").decode().splitlines()
    folders = {"/winvm", "/winvm/openssh", "/drivers", "/drivers/viostor"}
    assert set(listed) == {f"/{path}" for path in written} | folders
    for path, content in written.items():
        assert isoinfo(iso, "-J", "-x", f"/{path}") == content
    assert b"Volume id: WINVM" in isoinfo(iso, "-d")


def test_the_iso_is_secret_and_new(tmp_path: Path) -> None:
    iso = tmp_path / "configuration.iso"
    write_iso(iso, {"a": b"1"})
    assert iso.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_iso(iso, {"a": b"1"})
    with pytest.raises(ValueError, match="64 characters"):
        write_iso(tmp_path / "long.iso", {"a" * 65: b""})


def test_setup_finds_the_answer_file_and_the_first_logon_its_start() -> None:
    found = contents(
        "<é/>", b"zip", b"pyz", {"provision.json": b"{}"}, {"sshd.exe": b"MZ"}, {"v/v.inf": b"i"}
    )
    assert found[ANSWER_FILE] == "<é/>".encode()
    start = found["winvm/start.cmd"]
    assert start.count(b"\n") == start.count(b"\r\n") > 10
    assert all(len(line) < 200 for line in start.splitlines())
    assert {"winvm/openssh/sshd.exe", "drivers/v/v.inf", "winvm/provision.json"} < found.keys()
    assert "       3  winvm/python.zip\n" in listing(found)


def test_the_start_names_only_what_is_on_the_iso() -> None:
    found = contents("", b"", b"", {"provision.json": b""}, {}, {})
    text = found["winvm/start.cmd"].decode()
    for name in ("python.zip", "provision.pyz", "provision.json"):
        assert f'"%HERE%{name}"' in text
        assert f"winvm/{name}" in found


@pytest.mark.parametrize("profile", list(PROFILES.values()), ids=list(PROFILES))
@pytest.mark.parametrize("bundled", [False, True])
def test_the_provisioning_takes_the_settings_of_every_profile(
    profile: WindowsProfile, bundled: bool, secrets: WindowsSecrets
) -> None:
    found = files(profile, secrets, DRIVER, bundled=bundled)
    settings = json.loads(found["provision.json"])
    assert settings["profile"] == profile.name
    assert settings["winrm"]["password"] == secrets.password
    assert settings["certificates"] == ["test.cer"]
    named = {
        settings["winrm"]["certificate"],
        settings["ssh"]["host_key"],
        settings["ssh"]["authorized_keys"],
    }
    assert found.keys() == named | {"test.cer", "provision.json"}
    assert found[settings["ssh"]["authorized_keys"]] == secrets.public_client_key.read_bytes()
    assert settings["ssh"]["install"] == ("bundle" if bundled else ssh_source(profile, bundled=False))


def test_only_server_2025_brings_an_ssh_server() -> None:
    brings = {name for name, profile in PROFILES.items() if ssh_source(profile, bundled=False) == "present"}
    assert brings == {"windows-server-2025"}


@pytest.mark.parametrize(
    ("kd", "wanted"),
    [
        ("serial", {"transport": "serial", "port": 1, "baud_rate": 115200}),
        ("none", {"transport": "off"}),
    ],
)
def test_the_debugger_is_the_profiles(kd: str, wanted: dict[str, object], secrets: WindowsSecrets) -> None:
    profile = PROFILES["windows-10"]
    hardware = profile.hardware.model_copy(update={"kd": kd})
    found = files(profile.model_copy(update={"hardware": hardware}), secrets, None, bundled=False)
    assert json.loads(found["provision.json"])["kernel_debugger"] == wanted


def test_kdnet_gets_the_images_key(secrets: WindowsSecrets) -> None:
    profile = PROFILES["windows-10"]
    hardware = profile.hardware.model_copy(update={"kd": "kdnet"})
    found = files(profile.model_copy(update={"hardware": hardware}), secrets, None, bundled=False)
    debugger = json.loads(found["provision.json"])["kernel_debugger"]
    assert debugger["key"] == secrets.kd_key.read_text().strip()
    assert (debugger["transport"], debugger["port"]) == ("kdnet", 50000)


def test_driver_verifier_needs_to_know_the_driver(secrets: WindowsSecrets) -> None:
    profile = PROFILES["windows-10"]
    provision = profile.provision.model_copy(update={"driver_verifier": True})
    profile = profile.model_copy(update={"provision": provision})
    with pytest.raises(ConfigurationError, match="no driver is known"):
        files(profile, secrets, None, bundled=False)
    found = files(profile, secrets, DRIVER, bundled=False)
    assert json.loads(found["provision.json"])["verifier"] == {"drivers": ["mydriver.sys"]}


def test_settings_that_the_guest_would_refuse_are_refused_here(secrets: WindowsSecrets) -> None:
    profile = PROFILES["windows-10"].model_copy(update={"name": "no profile's name"})
    with pytest.raises(ConfigurationError) as caught:
        files(profile, secrets, None, bundled=False)
    assert "profile must be a profile's name" in caught.value.message
    assert secrets.password not in caught.value.message


def test_the_program_is_the_same_each_time_and_starts(tmp_path: Path) -> None:
    assert program() == program()
    archive = tmp_path / "provision.pyz"
    archive.write_bytes(program())
    done = subprocess.run(
        [sys.executable, "-I", archive, "--help"], capture_output=True, text=True, check=True
    )
    assert "provision.json" in done.stdout


def test_drivers_are_taken_only_where_the_hardware_needs_them(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for path in (
        "viostor/w11/amd64/viostor.inf",
        "viostor/w11/amd64/viostor.sys",
        "viostor/w11/amd64/viostor.pdb",
        "viostor/w10/amd64/viostor.inf",
        "viostor/w11/ARM64/viostor.inf",
        "NetKVM/w11/amd64/netkvm.inf",
        "NetKVM/w11/amd64/netkvmco.exe",
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    iso = tmp_path / "virtio-win.iso"
    subprocess.run(["genisoimage", "-quiet", "-J", "-R", "-o", iso, tree], check=True)
    profile, deadline = PROFILES["windows-11"], Deadline.after(60)
    assert read_drivers(profile, None, deadline) == {}
    assert read_drivers(profile, iso, deadline) == {}
    (tree / "fwcfg" / "w11" / "amd64").mkdir(parents=True)
    (tree / "fwcfg" / "w11" / "amd64" / "fwcfg.inf").write_text("dump")
    with_dump = tmp_path / "newer.iso"
    subprocess.run(["genisoimage", "-quiet", "-J", "-R", "-o", with_dump, tree], check=True)
    assert read_drivers(profile, with_dump, deadline) == {"fwcfg/fwcfg.inf": b"dump"}
    hardware = profile.hardware.model_copy(update={"disk_bus": "virtio", "control_nic": "virtio"})
    virtio = profile.model_copy(update={"hardware": hardware})
    found = read_drivers(virtio, iso, deadline)
    assert found == {
        "viostor/viostor.inf": b"viostor/w11/amd64/viostor.inf",
        "viostor/viostor.sys": b"viostor/w11/amd64/viostor.sys",
        "NetKVM/netkvm.inf": b"NetKVM/w11/amd64/netkvm.inf",
        "NetKVM/netkvmco.exe": b"NetKVM/w11/amd64/netkvmco.exe",
    }
    with pytest.raises(ConfigurationError, match="needs the drivers viostor, NetKVM"):
        read_drivers(virtio, None, deadline)
    install = profile.install.model_copy(update={"virtio": "2k25"})
    with pytest.raises(ConfigurationError, match="no driver in viostor/2k25/amd64"):
        read_drivers(virtio.model_copy(update={"install": install}), iso, deadline)


def zipped(tmp_path: Path, entries: dict[str, bytes]) -> Path:
    path = tmp_path / "OpenSSH-Win64.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_openssh_comes_out_of_its_release(tmp_path: Path) -> None:
    whole = {f"OpenSSH-Win64/{name}": name.encode() for name in (*NEEDED, "ssh.exe")}
    assert read_openssh(zipped(tmp_path, whole)) == {name: name.encode() for name in (*NEEDED, "ssh.exe")}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"OpenSSH-Win64/ssh.exe": b""}, "holds no sshd.exe"),
        ({f"x/{number}": b"" for number in range(300)}, "too large"),
        ({**dict.fromkeys(NEEDED, b""), "a/..\\..\\evil.exe": b""}, "holds a file called"),
    ],
)
def test_another_zip_is_refused(entries: dict[str, bytes], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_openssh(zipped(tmp_path, entries))


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(ConfigurationError, match="cannot be read as a zip"):
        read_openssh(tmp_path / "no.zip")


def test_the_run_time_is_held_to_its_digest_and_the_rest_to_their_signer(tmp_path: Path) -> None:
    (tmp_path / "vcruntime140.dll").write_bytes(b"MZ run-time")
    (tmp_path / "vcruntime140_threads.dll").write_bytes(b"MZ not listed")
    digest = hashlib.sha256(b"MZ run-time").hexdigest()
    python.verify(tmp_path, "Python Software Foundation", {"vcruntime140.dll": digest})
    assert [path.name for path in tmp_path.iterdir()] == ["vcruntime140.dll"]
    with pytest.raises(ImageError, match=r"vcruntime140\.dll of Windows Python is not the one"):
        python.verify(tmp_path, "Python Software Foundation", {"vcruntime140.dll": "0" * 64})
    (tmp_path / "python.exe").write_bytes(b"MZ unsigned")
    with pytest.raises(ImageError, match=r"python\.exe carries no valid signature"):
        python.verify(tmp_path, "Python Software Foundation", {"vcruntime140.dll": digest})


def with_files(*names: str, script: str = "") -> WindowsProfile:
    provision = PROFILES["windows-11"].provision
    wanted = provision.model_validate({**provision.model_dump(), "files": names, "script": script})
    return PROFILES["windows-11"].model_copy(update={"provision": wanted})


def test_files_and_a_script_of_ones_own_are_on_the_iso(secrets: WindowsSecrets, tmp_path: Path) -> None:
    (tmp_path / "tool.exe").write_bytes(b"MZ")
    (tmp_path / "setup.cmd").write_bytes(b"tool.exe")
    names = [str(tmp_path / name) for name in ("tool.exe", "setup.cmd")]
    found = files(with_files(*names, script=names[1]), secrets, DRIVER, bundled=True)
    assert found["tool.exe"] == b"MZ"
    settings = json.loads(found["provision.json"])
    assert settings["own"] == {"files": ["setup.cmd", "tool.exe"], "script": "setup.cmd"}
    assert {name for name in found if name not in ("tool.exe", "setup.cmd")} <= RESERVED


def test_files_that_cannot_be_used_are_named(secrets: WindowsSecrets, tmp_path: Path) -> None:
    (tmp_path / "python.zip").write_bytes(b"PK")
    for name, words in (("none.exe", "cannot be read"), ("python.zip", "one of winvm's own")):
        with pytest.raises(ConfigurationError, match=words):
            files(with_files(str(tmp_path / name)), secrets, DRIVER, bundled=True)
    with pytest.raises(ValueError, match="is none of"):
        with_files(script="setup.cmd")


def test_under_secure_boot_neither_test_signing_nor_the_debugger_is_touched(secrets: WindowsSecrets) -> None:
    profile = PROFILES["windows-11"]
    hardware = profile.hardware.model_copy(update={"secure_boot": True, "kd": "none"})
    found = files(profile.model_copy(update={"hardware": hardware}), secrets, DRIVER, bundled=True)
    settings = json.loads(found["provision.json"])
    assert settings["test_signing"] is settings["kernel_debugger"] is None
    document = {**full(), "test_signing": None, "kernel_debugger": None}
    run = Run(prepared(document=document, secure_boot=True), document)
    assert run.whole() is Outcome.OK, run.wrong()
