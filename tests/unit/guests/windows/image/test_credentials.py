"""Secrets of a Windows image: who may read them, and that Windows can use them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness.debuggers.kd.key import Key
from harness.guests.windows.image.credentials import WindowsSecrets, make_windows_secrets


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> WindowsSecrets:
    return make_windows_secrets(tmp_path_factory.mktemp("image") / "secrets")


def test_nobody_else_may_read_them(secrets: WindowsSecrets) -> None:
    assert secrets.folder.stat().st_mode & 0o777 == 0o700
    files = list(secrets.folder.iterdir())
    assert len(files) == 9
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_password_satisfies_the_policy_of_servers(secrets: WindowsSecrets) -> None:
    password = secrets.password
    assert len(password) == 32
    assert all(re.search(kind, password) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    assert "winvm" not in password.lower()


def test_the_pfx_holds_the_pinned_certificate_and_its_key(secrets: WindowsSecrets) -> None:
    pinned = x509.load_pem_x509_certificate(secrets.certificate.read_bytes())
    key, certificate, _ = pkcs12.load_key_and_certificates(
        secrets.pfx.read_bytes(), secrets.password.encode()
    )
    assert certificate == pinned
    assert key is not None
    assert key.public_key() == pinned.public_key()
    usage = pinned.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_openssl_reads_the_pfx_and_names_the_same_certificate(secrets: WindowsSecrets) -> None:
    """As Windows of 2018 does: triple DES and SHA-1, no newer cipher."""
    password = f"file:{secrets.password_file}"
    shown = subprocess.run(
        ["openssl", "pkcs12", "-legacy", "-info", "-nokeys", "-in", secrets.pfx, "-passin", password],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pbeWithSHA1And3-KeyTripleDES-CBC" in shown.stderr
    assert "AES" not in shown.stderr
    named = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha1"],
        input=shown.stdout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert named.strip().partition("=")[2].replace(":", "") == secrets.thumbprint


def test_keys_of_debugger_and_ssh(secrets: WindowsSecrets) -> None:
    assert Key.read(secrets.kd_key).text == secrets.kd_key.read_text().strip()
    for private, public in (
        (secrets.private_host_key, secrets.host_key),
        (secrets.client_key, secrets.public_client_key),
    ):
        load_ssh_private_key(private.read_bytes(), None)
        assert public.read_text().startswith("ssh-ed25519 ")


def test_no_two_images_share_any(secrets: WindowsSecrets, tmp_path: Path) -> None:
    other = make_windows_secrets(tmp_path / "secrets")
    for file in secrets.folder.iterdir():
        assert file.read_bytes() != (other.folder / file.name).read_bytes()
