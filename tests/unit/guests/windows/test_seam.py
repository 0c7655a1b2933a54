"""Compares the two sides of a Windows guest: what an image build sets up, and what a run expects.

The provisioning runs on the fake Windows with the very files that a build puts on the configuration ISO. What
it leaves there must be what `WindowsGuest`, made from the same image, connects to, listens to and looks for.
"""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from provision.journal import Journal
from provision.runner import Outcome, Provisioner
from provision.settings import Settings, parse
from provision.staging import FOLDER, PROGRAM, PYTHON_FOLDER, RESUME
from provision.supplied import supplied

from harness.debuggers.kd.key import Key
from harness.guests.windows.guest import DRIVE_C, MEMORY_DUMP, PYTHON, STANDBY, WindowsGuest, WindowsLink
from harness.guests.windows.image.answer import START, Answers
from harness.guests.windows.image.configuration import ANSWER_FILE, contents
from harness.guests.windows.image.credentials import WindowsSecrets, make_windows_secrets
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.provisioning import Driver, files
from harness.guests.windows.image.sealed import WindowsImage
from harness.guests.windows.image.wim import WimImage
from harness.guests.windows.spec.domain import KD_SOCKET, KDNET_SOCKET, WindowsSpec
from harness.guests.windows.spec.profile import KDNET_HOST, KDNET_PORT, WindowsProfile
from harness.machine.accelerator import Accelerator
from harness.machine.domain import HostSide
from harness.offline.windows import DEDICATED_FILE
from harness.offline.windows import MEMORY_DUMP as OFFLINE_DUMP
from harness.project.profiles import shipped
from harness.toolchain.sign import TestCertificate
from tests.fakes.machine import FakeMachine
from tests.fakes.windows_tools import CRASH_CONTROL, HOST_KEYS, WINLOGON, FakeWindows

UNATTEND = "{urn:schemas-microsoft-com:unattend}"
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
AUTHORIZED_KEYS = r"c:\programdata\ssh\administrators_authorized_keys"
OPENSSH = {"install-sshd.ps1": b"# Win32-OpenSSH", "sshd.exe": b"MZ", "sftp-server.exe": b"MZ"}
PROFILES = {profile.name: profile for profile in shipped(WindowsProfile)}
HOST_PORTS = {"winrm": 40001, "ssh": 40002}


@dataclass(frozen=True)
class Seam:
    """One image: `disc`, what its configuration ISO held; `windows`, what became of it; `guest`, a run's."""

    profile: WindowsProfile
    secrets: WindowsSecrets
    disc: dict[str, bytes]
    settings: Settings
    windows: FakeWindows
    guest: WindowsGuest
    machine: FakeMachine
    certificate: TestCertificate

    @property
    def link(self) -> WindowsLink:
        return self.guest.link(self.machine)

    @property
    def answers(self) -> ET.Element:
        return ET.fromstring(self.disc[ANSWER_FILE])

    def registry(self, key: str, name: str) -> object:
        found = self.windows.value(key, name)
        return found.data if found else None

    def domain(self) -> ET.Element:
        spec = WindowsSpec(self.guest.image.folder, self.profile, Accelerator.KVM)
        channels, disk = self.machine.channels, self.machine.disk
        serials = (channels.console, channels.journal, channels.com3, channels.com4)
        host = HostSide(disk, serials, channels.dbgprint, HOST_PORTS, channels.clock)
        return ET.fromstring(spec.render(host, name="guest", key="0123456789ab"))

    def qemu_arguments(self) -> list[str]:
        return [argument.get("value", "") for argument in self.domain().iter(f"{QEMU}arg")]


def seam_of(profile: WindowsProfile, folder: Path) -> Seam:
    image = WindowsImage(folder, "ab" * 32, 0, "", {}, profile.name)
    secrets = make_windows_secrets(image.secrets.folder)
    certificate = TestCertificate.ensure(folder / "certificate")
    driver = Driver("mydriver", certificate.certificate.read_bytes())
    supply = files(profile, secrets, driver, bundled=True)
    wim = WimImage(1, "", next(iter(profile.install.editions)), profile.install.kind, "amd64", 1, 1, (), 0)
    answers = Answers(profile, Choice(wim, "", "en-US"), secrets.password).render()
    disc = contents(answers, b"zip", b"pyz", supply, OPENSSH, {})
    windows = FakeWindows()
    for path, content in disc.items():  # the first logon's copy, see provision.staging
        if path.startswith("winvm/"):
            name = path.removeprefix("winvm/").replace("/", "\\")
            windows.files[rf"{FOLDER}\{name}".lower()] = content
    settings = parse(supply["provision.json"])
    machine = FakeMachine(folder / "machine", HOST_PORTS)
    return Seam(profile, secrets, disc, settings, windows, WindowsGuest(image, profile), machine, certificate)


def provisioned(seam: Seam) -> Seam:
    """The same, after the first logon, its restart, and the self-check."""
    journal = Journal([], seam.settings.secrets)
    read = supplied(seam.settings, FOLDER, seam.windows)
    outcomes = []
    for resumed in (False, True):
        provisioner = Provisioner(seam.settings, read, seam.windows, journal, RESUME, resumed)
        outcomes.append(provisioner.run())
        if not resumed:
            assert seam.windows.restart() == RESUME
    assert outcomes == [Outcome.RESTARTING, Outcome.OK]
    return seam


@pytest.fixture(scope="module", params=list(PROFILES.values()), ids=list(PROFILES))
def seam(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seam:
    return provisioned(seam_of(request.param, tmp_path_factory.mktemp("image")))


def with_debugger(kd: str, folder: Path) -> Seam:
    profile = PROFILES["windows-11"]
    hardware = profile.hardware.model_copy(update={"kd": kd})
    return provisioned(seam_of(profile.model_copy(update={"hardware": hardware}), folder))


def test_winrm_answers_with_the_certificate_that_is_pinned(seam: Seam) -> None:
    pinned = x509.load_pem_x509_certificate(seam.link.transport.endpoint.certificate.read_bytes())
    thumbprint = pinned.fingerprint(hashes.SHA1()).hex().upper()
    assert seam.windows.listeners == {"HTTPS": thumbprint}
    assert seam.windows.personal[thumbprint] == pinned


def test_the_account_that_setup_makes_is_the_one_that_logs_in(seam: Seam) -> None:
    winrm, account = seam.link.transport.endpoint, seam.answers.find(f".//{UNATTEND}LocalAccount")
    assert account is not None
    assert account.findtext(f"{UNATTEND}Name") == winrm.user == seam.link.files.endpoint.user
    hidden = account.findtext(f"{UNATTEND}Password/{UNATTEND}Value") or ""
    assert base64.b64decode(hidden).decode("utf-16-le") == f"{winrm.password}Password"
    assert seam.windows.expiry == {winrm.user: None}
    assert seam.windows.wsman[r"service\auth\basic"] == "true", "as the transport logs in"


def test_sshd_shows_the_key_that_is_pinned_and_lets_the_images_key_in(seam: Seam) -> None:
    ssh, written = seam.link.files.endpoint, seam.windows.files
    shown = load_ssh_private_key(written[HOST_KEYS], None).public_key()
    line = shown.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert ssh.host_key.read_bytes().split()[:2] == line.split()
    own = load_ssh_private_key(ssh.client_key.read_bytes(), None).public_key()
    allowed = written[AUTHORIZED_KEYS].split()
    assert allowed[:2] == own.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()


def test_the_firewall_is_open_where_the_forwards_lead(seam: Seam) -> None:
    (control,) = (one for one in seam.qemu_arguments() if one.startswith("user,id=control"))
    forwards = dict(re.findall(r"hostfwd=tcp:127\.0\.0\.1:(\d+)-10\.0\.2\.15:(\d+)", control))
    ports = {"winrm": seam.link.transport.endpoint.port, "ssh": seam.link.files.endpoint.port}
    reached = {name: int(forwards[str(port)]) for name, port in ports.items()}
    opened = {name.lower().removeprefix("winvm-"): rule for name, rule in seam.windows.rules.items()}
    assert {name: rule["localport"] for name, rule in opened.items()} == reached


def test_the_journals_port_is_the_one_that_is_watched(seam: Seam) -> None:
    port = seam.guest.journal_port
    assert port == rf"\\.\{seam.settings.journal}"
    assert f"set PORT={port}\r\n" in seam.disc["winvm/start.cmd"].decode()
    told = [path.text or "" for path in seam.answers.iter(f"{UNATTEND}Path") if "echo" in (path.text or "")]
    assert [line.count(f">{port} ") for line in told] == [1, 1]
    number = int(port.removeprefix(r"\\.\COM"))
    (watched,) = (
        serial
        for serial in seam.domain().iter("serial")
        if serial.find(f"target[@port='{number - 1}']") is not None
    )
    assert watched.find(f"source[@path='{seam.machine.channels.journal}']") is not None


def test_python_is_where_runs_look_for_it(seam: Seam) -> None:
    start = seam.disc["winvm/start.cmd"].decode()
    unpacked = re.search(r'tar\.exe" -xf "%HERE%python\.zip" -C (\S+)', start)
    assert unpacked
    assert unpacked[1] == PYTHON_FOLDER
    assert rf"{PYTHON_FOLDER}\python.exe" == PYTHON
    assert start.count(PYTHON) == 2, "looked for before it is unpacked, and started"
    assert RESUME.startswith(f"{PYTHON} {PROGRAM} ")
    assert f"winvm/{START.partition(chr(92))[2]}" in seam.disc
    assert seam.link.files._path_map(STANDBY) == f"{DRIVE_C}/winvm/standby.py"


def test_the_dump_is_where_it_is_looked_for(seam: Seam) -> None:
    written = str(seam.registry(CRASH_CONTROL, "DumpFile")).replace("%SystemRoot%", r"C:\Windows")
    assert written == MEMORY_DUMP == "C:\\" + OFFLINE_DUMP.replace("/", "\\")
    assert seam.registry(CRASH_CONTROL, "AutoReboot") == seam.profile.provision.auto_reboot == 1


def test_a_dedicated_dump_file_is_looked_into(tmp_path: Path) -> None:
    profile = PROFILES["windows-11"]
    provision = profile.provision.model_copy(update={"dump": "complete", "dump_file_mib": 4353})
    seam = provisioned(seam_of(profile.model_copy(update={"provision": provision}), tmp_path))
    assert seam.registry(CRASH_CONTROL, "DumpFileSize") == 4353
    written = str(seam.registry(CRASH_CONTROL, "DedicatedDumpFile"))
    assert written == "C:\\" + DEDICATED_FILE.replace("/", "\\")


def test_the_guest_trusts_what_the_driver_is_signed_with(seam: Seam) -> None:
    made = x509.load_pem_x509_certificate(seam.certificate.certificate.read_bytes())
    thumbprint = made.fingerprint(hashes.SHA1()).hex()
    assert seam.windows.stores == {"root": {thumbprint}, "trustedpublisher": {thumbprint}}
    assert seam.windows.boot.entry["testsigning"] == "Yes"


def test_nobody_is_logged_on_and_no_secret_is_left(seam: Seam) -> None:
    assert seam.registry(WINLOGON, "AutoAdminLogon") == "0"
    assert seam.registry(WINLOGON, "DefaultPassword") is None
    # The host key stays where sshd reads it.
    left = [content for path, content in seam.windows.files.items() if path != HOST_KEYS]
    for secret in (seam.secrets.pfx, seam.secrets.private_host_key, seam.secrets.client_key):
        assert secret.read_bytes() not in left
    assert not any(seam.secrets.password.encode() in content for content in left)


def test_the_serial_debugger_is_on_the_port_that_is_a_socket(tmp_path: Path) -> None:
    seam = with_debugger("serial", tmp_path)
    target = seam.windows.boot.debugger
    assert (seam.windows.boot.entry["debug"], target["debugtype"].lower()) == ("Yes", "serial")
    (socket,) = (serial for serial in seam.domain().iter("serial") if serial.get("type") == "unix")
    place, source = socket.find("target"), socket.find("source")
    assert place is not None
    assert source is not None
    assert int(place.get("port", "")) + 1 == int(target["debugport"])
    assert source.get("path") == str(seam.machine.folder / KD_SOCKET)


def test_kdnet_has_the_key_the_port_and_the_adapter_of_the_host(tmp_path: Path) -> None:
    seam = with_debugger("kdnet", tmp_path)
    target = seam.windows.boot.debugger
    assert target["key"] == Key.read(seam.guest.image.secrets.kd_key).text
    assert (target["hostip"], int(target["port"])) == (KDNET_HOST, KDNET_PORT)
    bus, slot, function = (int(part) for part in target["busparams"].split("."))
    assert (bus, function) == (0, 0)
    (adapter,) = (one for one in seam.qemu_arguments() if one.startswith("e1000e,netdev=kd,"))
    assert adapter.endswith(f"bus=pcie.0,addr={slot:#x}")
    (network,) = (one for one in seam.qemu_arguments() if "id=kd," in one)
    path = seam.machine.folder / KDNET_SOCKET
    assert network == f"stream,id=kd,server=on,addr.type=unix,addr.path={path}", "no network of the host's"


def test_a_guest_without_a_debugger_is_configured_without(tmp_path: Path) -> None:
    seam = with_debugger("none", tmp_path)
    assert seam.windows.boot.entry["debug"] == "No"
    assert {serial.get("type") for serial in seam.domain().iter("serial")} == {"file"}
