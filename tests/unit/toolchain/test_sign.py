"""Test signing with the real osslsigncode: certificate, signature, and what verification refuses."""

import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from harness.errors import BuildError, HostError
from harness.toolchain.sign import TestCertificate, sign, verify
from tests.fakes.tiny_driver import build_tiny_driver


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> TestCertificate:
    return TestCertificate.ensure(tmp_path_factory.mktemp("certificate") / "new")


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    return build_tiny_driver(tmp_path)


def test_the_certificate_signs_code_and_its_key_is_private(certificate: TestCertificate) -> None:
    made = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600


def test_it_is_made_once(certificate: TestCertificate) -> None:
    before = certificate.certificate.read_bytes()
    assert TestCertificate.ensure(certificate.key.parent) == certificate
    assert certificate.certificate.read_bytes() == before


def test_half_a_certificate_is_made_anew(certificate: TestCertificate, tmp_path: Path) -> None:
    shutil.copy(certificate.certificate, tmp_path / "certificate.pem")
    made = TestCertificate.ensure(tmp_path)
    assert made.key.is_file()
    assert made.certificate.read_bytes() != certificate.certificate.read_bytes()


def test_a_damaged_certificate_is_reported(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text("nonsense")
    (tmp_path / "key.pem").write_text("nonsense")
    with pytest.raises(HostError, match="cannot be made or read") as caught:
        TestCertificate.ensure(tmp_path)
    assert "Remove" in caught.value.remedy


def test_sign_and_verify(driver: Path, certificate: TestCertificate) -> None:
    unsigned = driver.read_bytes()
    sign(driver, certificate)
    verify(driver, certificate)
    assert driver.read_bytes() != unsigned


def test_signing_again_changes_nothing(driver: Path, certificate: TestCertificate) -> None:
    sign(driver, certificate)
    signed = driver.read_bytes()
    sign(driver, certificate)
    assert driver.read_bytes() == signed


def test_an_unsigned_driver_is_refused(driver: Path, certificate: TestCertificate) -> None:
    with pytest.raises(BuildError, match="no valid signature"):
        verify(driver, certificate)


def test_a_changed_driver_is_refused(driver: Path, certificate: TestCertificate) -> None:
    sign(driver, certificate)
    data = bytearray(driver.read_bytes())
    data[0x400] ^= 1
    driver.write_bytes(data)
    with pytest.raises(BuildError, match="no valid signature") as caught:
        verify(driver, certificate)
    assert caught.value.detail


def test_another_certificate_is_refused(driver: Path, certificate: TestCertificate, tmp_path: Path) -> None:
    sign(driver, certificate)
    with pytest.raises(BuildError, match="no valid signature"):
        verify(driver, TestCertificate.ensure(tmp_path / "other"))


def test_what_is_no_driver_cannot_be_signed(tmp_path: Path, certificate: TestCertificate) -> None:
    text = tmp_path / "text.sys"
    text.write_text("not a driver")
    with pytest.raises(BuildError, match="cannot be signed"):
        sign(text, certificate)
    assert text.read_text() == "not a driver"
