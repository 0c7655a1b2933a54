"""Which mirror the guest image's packages come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError, HostError
from harness.images import mirror


def test_the_variable_names_the_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(mirror.VARIABLE, "http://mirror.example/debian")
    assert mirror.debian_mirror(tmp_path / "none") == "http://mirror.example/debian"


@pytest.mark.parametrize("named", ["-oDir=/", "mirror.example", "http://a b", "http://a\nb", "ftp://x/"])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv(mirror.VARIABLE, named)
    with pytest.raises(ConfigurationError, match="no address of a package mirror"):
        mirror.debian_mirror()


@pytest.mark.parametrize("variable", ["http://mirror.example/debian", "no address"])
def test_the_option_comes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(mirror.VARIABLE, variable)
    assert mirror.debian_mirror(tmp_path / "none", "http://own.example/debian") == "http://own.example/debian"
    with pytest.raises(ConfigurationError, match="--mirror is 'ftp://x/'"):
        mirror.debian_mirror(tmp_path / "none", "ftp://x/")
    with pytest.raises(HostError, match="is not known"):  # an empty one names none
        mirror.debian_mirror(tmp_path / "none", "")


@pytest.mark.parametrize(
    "text", ["", 'ID=ubuntu\nPRETTY_NAME="Ubuntu 26.04 LTS"\nVERSION_CODENAME=resolute\n']
)
def test_another_distribution_has_to_name_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.delenv(mirror.VARIABLE, raising=False)
    (tmp_path / "os-release").write_text(text)
    with pytest.raises(HostError, match="is not known") as caught:
        mirror.debian_mirror(tmp_path / "os-release")
    assert "--mirror URL" in str(caught.value)
    assert ("Ubuntu 26.04" in str(caught.value)) == bool(text)


def test_a_debian_host_uses_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(mirror.VARIABLE, raising=False)
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho 'other http://other.example/'\necho 'trixie http://own.example/debian'\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    assert mirror.debian_mirror(tmp_path / "os-release") == "http://own.example/debian"
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=sid\n")
    with pytest.raises(HostError, match="no package index"):
        mirror.debian_mirror(tmp_path / "os-release")
