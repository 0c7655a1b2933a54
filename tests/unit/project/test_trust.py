"""Another user's winvm.toml is used only if it is named; and URIs in it run no program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.project import config

STRANGER = 54321


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "winvm.toml").write_text("[driver]\nname='mine'\n")
    (tmp_path / "below").mkdir()
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(project / "winvm.toml", STRANGER, STRANGER)
    with pytest.raises(ConfigurationError, match=r"belongs to user id 54321.*--config") as raised:
        config.find(project / "below")
    assert raised.value.exit_code == 2
    assert config.load(project / "winvm.toml").driver.name == "mine"  # named, so believed
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    assert config.find(project / "below") == project / "winvm.toml"


def test_a_folder_that_everybody_can_write_is_refused(project: Path) -> None:
    project.chmod(0o777)
    with pytest.raises(ConfigurationError, match="everybody can write into"):
        config.find(project)
    project.chmod(0o1777)
    assert config.find(project) == project / "winvm.toml"


def test_a_file_that_everybody_can_write_is_refused(project: Path) -> None:
    (project / "winvm.toml").chmod(0o666)
    with pytest.raises(ConfigurationError, match="everybody can write to it"):
        config.find(project / "below")
    (project / "winvm.toml").chmod(0o664)
    assert config.find(project / "below") == project / "winvm.toml"


@pytest.mark.parametrize("trusted", ["{}", "/nowhere:{}", "*"])
def test_trust_can_be_given(project: Path, trusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project.chmod(0o777)
    monkeypatch.setenv("WINVM_TRUST", trusted.format(project))
    assert config.find(project / "below") == project / "winvm.toml"


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://h/system?command=/tmp/evil.sh",
        "qemu+ssh://h/system?no_tty=1&netcat=/tmp/evil",
        "qemu+ssh://h/system?COMMAND=/tmp/evil.sh",
        "qemu+ssh://h/system?%63ommand=/tmp/evil.sh",
        "qemu+ssh://h/system?no_tty=1;command=/tmp/evil.sh",
    ],
)
def test_a_uri_of_a_file_runs_no_program(tmp_path: Path, uri: str) -> None:
    file = tmp_path / "winvm.toml"
    for text in (f'[guest]\nuri = "{uri}"\n', f'[nightly]\nhosts = [{{uri = "{uri}"}}]\n'):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match="a file may not give"):
            config.load(file)
    file.write_text("")
    assert config.load(file).with_changes(uri=uri).guest.uri == uri  # given on the command line


def test_a_usual_uri_is_taken(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text('[guest]\nuri = "qemu+ssh://me@host/system?no_tty=1"\n')
    assert config.load(tmp_path / "winvm.toml").guest.uri.startswith("qemu+ssh://me@host")
