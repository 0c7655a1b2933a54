"""Test signing: a self-signed code-signing certificate, and Authenticode signatures made with it.

Windows loads such a driver only in test-signing mode with the certificate trusted; Wine loads anything. The
certificate is worthless elsewhere, so it is made once per folder and kept there, its key with mode 0600.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.deadline import Deadline
from harness.errors import BuildError, DeadlineError, HostError
from harness.host import programs

TIMEOUT_S = 60.0
SUBJECT = "winvm test signing"
VALID_DAYS = 3650


@dataclass(frozen=True)
class TestCertificate:
    """PEM files of a code-signing certificate and its unencrypted RSA key."""

    __test__: ClassVar[bool] = False  # tells pytest that this is not a test class

    certificate: Path
    key: Path

    @classmethod
    def ensure(cls, folder: Path) -> TestCertificate:
        """The certificate kept in `folder`; a new one is made when there is none or it has expired.

        Raises:
            HostError: the folder or its files cannot be read or written.
        """
        found = cls(folder / "certificate.pem", folder / "key.pem")
        try:
            if not found._usable():
                found._make()
        except (OSError, ValueError) as error:
            raise HostError(
                f"The test certificate in {folder} cannot be made or read: {error}.",
                remedy=f"Remove {folder} and run again.",
            ) from error
        return found

    def _usable(self) -> bool:
        from cryptography import x509

        if not (self.certificate.is_file() and self.key.is_file()):
            return False
        made = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        # Not yet valid: the host's clock was ahead when it was made.
        return made.not_valid_before_utc <= datetime.datetime.now(datetime.UTC) < made.not_valid_after_utc

    def _make(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
        now = datetime.datetime.now(datetime.UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # a guest's clock may be behind
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        self.key.parent.mkdir(parents=True, exist_ok=True)
        self.certificate.unlink(missing_ok=True)
        self.key.unlink(missing_ok=True)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with os.fdopen(os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def sign(driver: Path, certificate: TestCertificate) -> None:
    """Signs a PE file in place (SHA-256, checksum kept valid), unless this certificate already has.

    Raises:
        BuildError: the file cannot be signed.
        HostError: osslsigncode cannot be run.
    """
    if _verification(driver, certificate) == "":
        return
    unfinished = driver.with_name(f".{driver.name}.signed")
    unfinished.unlink(missing_ok=True)
    output = _osslsigncode(
        ["sign", "-h", "sha256", "-certs", str(certificate.certificate), "-key", str(certificate.key)],
        ["-n", SUBJECT, "-in", str(driver), "-out", str(unfinished)],
    )
    if not unfinished.is_file():
        raise BuildError(
            f"{driver} cannot be signed.",
            remedy="Check that it is a complete PE file without another signature.",
            detail=output,
        )
    unfinished.chmod(driver.stat().st_mode & 0o777)
    unfinished.replace(driver)


def verify(driver: Path, certificate: TestCertificate) -> None:
    """Checks that the file is unchanged since this certificate signed it.

    Raises:
        BuildError: it carries no signature, another certificate's, or its bytes were changed afterwards.
        HostError: osslsigncode cannot be run.
    """
    trouble = _verification(driver, certificate)
    if trouble:
        raise BuildError(
            f"{driver} carries no valid signature of {certificate.certificate}.",
            remedy="Build and sign it again.",
            detail=trouble,
        )


def _verification(driver: Path, certificate: TestCertificate) -> str:
    """Empty when the signature is good, else osslsigncode's output."""
    output = _osslsigncode(
        ["verify", "-CAfile", str(certificate.certificate), "-ignore-timestamp", "-ignore-crl"],
        ["-in", str(driver)],
    )
    return "" if "Signature verification: ok" in output and "Succeeded" in output else output


def _osslsigncode(*arguments: list[str]) -> str:
    argv = ["osslsigncode", *(argument for part in arguments for argument in part)]
    try:
        return programs.run(argv, Deadline.after(TIMEOUT_S), merged=True).text.strip()
    except (programs.MissingProgramError, DeadlineError) as error:
        raise HostError(
            f"osslsigncode cannot be run: {error.message}", remedy="Install the package osslsigncode."
        ) from error
