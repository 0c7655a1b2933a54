"""Makes one Windows image's secrets: those of every image, in formats Windows accepts, and the KDNET key.

Folder 0700, files 0600, as for the Wine image.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.debuggers.kd.key import Key
from harness.images.base import Secrets
from harness.images.credentials import BACKDATED, VALID, make_secrets

PASSWORD_BYTES = 24


@dataclass(frozen=True)
class WindowsSecrets(Secrets):
    """`Secrets` and what only a Windows guest has."""

    @property
    def pfx(self) -> Path:
        """PKCS#12 of `certificate` and `key`; its password is `password`."""
        return self.folder / "winrm.pfx"

    @property
    def kd_key(self) -> Path:
        """Text, one line: the KDNET key, four words of base 36."""
        return self.folder / "kd.key"

    @property
    def private_host_key(self) -> Path:
        """OpenSSH private key of the guest's sshd."""
        return self.host_key.with_suffix("")

    @property
    def public_client_key(self) -> Path:
        """OpenSSH public key that the guest's sshd accepts."""
        return self.client_key.with_name(f"{self.client_key.name}.pub")

    @property
    def thumbprint(self) -> str:
        """SHA-1 of `certificate`, 40 hexadecimal digits in capitals: how Windows names it."""
        made = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return made.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a proof


def make_windows_secrets(folder: Path) -> WindowsSecrets:
    """Creates `folder` and fills it with fresh secrets."""
    made = WindowsSecrets(make_secrets(folder).folder)
    password = _password()
    # RSA, with the key usage "server authentication": WinRM refuses a certificate without it.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = _certificate(key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (
        (made.password_file, password.encode("ascii")),
        (made.certificate, certificate.public_bytes(serialization.Encoding.PEM)),
        (made.key, private),
        (made.pfx, _pfx(key, certificate, password)),
    ):
        file.unlink(missing_ok=True)
        write_secret(file, content)
    Key.generate().write(made.kd_key)
    return made


def _password() -> str:
    """Random, and with characters of three kinds, which the default policy of servers demands."""
    while True:
        found = secrets.token_urlsafe(PASSWORD_BYTES)
        if all(re.search(kind, found) for kind in ("[a-z]", "[A-Z]", "[0-9]")):
            return found


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "winvm guest")])
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _pfx(key: rsa.RSAPrivateKey, certificate: x509.Certificate, password: str) -> bytes:
    """PKCS#12 with a cipher that every Windows reads; only newer builds read newer ciphers.

    The cipher is weak, but nothing depends on it: the password is on the same medium, which is secret.
    """
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303
        .build(password.encode("ascii"))
    )
    return pkcs12.serialize_key_and_certificates(b"winvm guest", key, certificate, None, encryption)


def write_secret(path: Path, content: bytes) -> None:
    """Creates a file with mode 0600, so that other users can never read it."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
