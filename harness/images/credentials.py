"""Makes one image's secrets: TLS certificate, WinRM password, SSH host and client keys.

They are made with the image and not with a run, because the saved RAM state of a ready guest already holds
them. Folder 0700, files 0600.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from harness.images.base import Secrets

VALID = datetime.timedelta(days=3650)
# A guest whose clock is behind the host's must not refuse its own certificate.
BACKDATED = datetime.timedelta(days=2)
PASSWORD_BYTES = 24


def make_secrets(folder: Path) -> Secrets:
    """Creates `folder` and fills it with fresh secrets."""
    folder.mkdir(mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    _write(folder / "certificate.pem", _certificate(key).public_bytes(serialization.Encoding.PEM))
    _write(
        folder / "key.pem",
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    _write(folder / "password", secrets.token_urlsafe(PASSWORD_BYTES).encode())
    for name in ("ssh_host_ed25519_key", "client_ed25519"):
        _write_ssh_pair(folder / name)
    return Secrets(folder)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "winvm guest")])
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _write_ssh_pair(path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    _write(path, private)
    _write(path.with_name(f"{path.name}.pub"), public + b"\n")


def _write(path: Path, content: bytes) -> None:
    """Creates the file with mode 0600, so that other users can never read it."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
