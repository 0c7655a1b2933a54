"""A fake Windows with everything that a full provision.json names, and a run of the provisioner on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from provision.journal import Journal
from provision.machine import Data
from provision.runner import Outcome, Provisioner
from provision.settings import Settings, parse
from provision.staging import FOLDER, RESUME
from provision.supplied import supplied

from tests.fakes.windows_tools import CONTROL_MAC, FakeWindows

KEY = "1z.9y.8x.7w"
PASSWORD = "pfx's own; $secret"
HOST_KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nhost key secret\n"


@cache
def certificate() -> tuple[bytes, bytes, str]:
    """A server's certificate: PEM, PFX, and its thumbprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "winvm")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9999))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    pfx = pkcs12.serialize_key_and_certificates(b"winvm", key, made, None, encryption)
    return made.public_bytes(serialization.Encoding.PEM), pfx, made.fingerprint(hashes.SHA1()).hex().upper()


def full() -> dict[str, Any]:
    """provision.json with every part of it."""
    return {
        "version": 1,
        "profile": "windows-11",
        "user": "winvm",
        "quiet": True,
        "test_signing": True,
        "memory_integrity": False,
        "certificates": ["test.cer"],
        "dbgprint_mask": 15,
        "kernel_debugger": {
            "transport": "kdnet",
            "host_ip": "10.0.2.2",
            "port": 50000,
            "key": KEY,
            "bus_parameters": "0.4.0",
        },
        "crash": {"dump": "kernel", "auto_reboot": True, "page_file_mib": 4096},
        "verifier": {"drivers": ["winvm.sys", "Other.sys"]},
        "winrm": {"certificate": "winrm.pfx", "password": PASSWORD, "thumbprint": certificate()[2]},
        "ssh": {
            "install": "bundle",
            "bundle": "openssh",
            "host_key": "ssh_host",
            "authorized_keys": "authorized_keys",
        },
        "network": {"mac": CONTROL_MAC, "address": "10.0.2.15", "prefix": 24},
    }


def prepared(folder: str = FOLDER, *, document: dict[str, Any] | None = None, **kind: bool) -> FakeWindows:
    """A fresh Windows; what the settings name lies in `folder`."""
    machine = FakeWindows(**kind)
    pem, pfx, _ = certificate()
    for name, content in {
        "provision.json": json.dumps(document or full()).encode(),
        "test.cer": pem,
        "winrm.pfx": pfx,
        "ssh_host": HOST_KEY,
        "authorized_keys": b"ssh-ed25519 AAAA winvm\n",
        r"openssh\install-sshd.ps1": b"# Win32-OpenSSH",
        r"openssh\sshd.exe": b"MZ",
    }.items():
        machine.files[rf"{folder}\{name}".lower()] = content
    return machine


class Run:
    """Processes of one provisioning, as many as its restarts need, and the journal of them all."""

    def __init__(self, machine: FakeWindows, document: dict[str, Any] | None = None) -> None:
        self.machine = machine
        self.settings: Settings = parse(json.dumps(document or full()).encode())
        self.lines: list[bytes] = []
        self.restarts = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal."""
        return [json.loads(line) for line in self.lines]

    def process(self, *, resumed: bool = False, resume: str = RESUME) -> Outcome:
        """One process of it."""
        journal = Journal([self.lines.append], self.settings.secrets)
        files = supplied(self.settings, FOLDER, self.machine)
        return Provisioner(self.settings, files, self.machine, journal, resume, resumed).run()

    def whole(self, *, resumed: bool = False) -> Outcome:
        """All of it, restarts included."""
        outcome = self.process(resumed=resumed)
        while outcome is Outcome.RESTARTING:
            assert self.machine.power == "restarting"
            self.restarts += 1
            assert self.restarts < 10
            assert self.machine.restart() == RESUME
            outcome = self.process(resumed=True)
        return outcome

    def states(self, phase: str) -> dict[str, str]:
        """The last state of each step in a phase."""
        return {event["step"]: event["state"] for event in self.events if event["phase"] == phase}

    def wrong(self) -> list[str]:
        """Settings that the self-check found not as wanted."""
        return [event["setting"] for event in self.events if event["state"] == "wrong"]


def registry(run: Run, key: str, name: str) -> Data | None:
    """What a registry value holds."""
    found = run.machine.value(key, name)
    return found.data if found else None
