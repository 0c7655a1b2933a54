"""winvm.toml: defaults, paths, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.project import config


def write(folder: Path, text: str) -> Path:
    file = folder / "winvm.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    loaded = config.load(
        write(tmp_path, '[driver]\nname="mine"\nfolder="src"\n[scenarios]\nfolders=["a", "b"]\n')
    )
    assert loaded.driver.name == "mine"
    assert loaded.driver_folder == tmp_path / "src"
    assert loaded.scenario_folders == (tmp_path / "a", tmp_path / "b")
    assert loaded.artifacts_folder == tmp_path / "artifacts"


def test_an_empty_file_has_every_default(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, ""))
    assert loaded.guest.profile == "wine"
    assert loaded.driver.builds == ("release",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[driver]\nnmae='x'\n", "driver.nmae"),
        ("[driver]\nname='../x'\n", "driver.name"),
        ("[driver]\nbuilds=[]\n", "driver.builds"),
        ("[guest]\nprofile=7\n", "guest.profile"),
        ("root='/'\n", "root"),
        ("[driver\n", "not valid TOML"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, text))
    assert named in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"driver\.nmae.*guest\.porfile"):
        config.load(write(tmp_path, "[driver]\nnmae='x'\n[guest]\nporfile='y'\n"))


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_bytes(b"\xef\xbb\xbf[driver]\nname='mine'\n")
    assert config.load(tmp_path / "winvm.toml").driver.name == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[driver]\n".encode("utf-16"), r"is not UTF-8: byte 0 is 0xff\. Save it as UTF-8"),
        ("# é\n".encode("latin-1"), "is not UTF-8: byte 2 is 0xe9"),
        (b"a = " + b"[" * 100_000, "too deeply"),
        (b"#" * (2 << 20), "larger than"),
    ],
)
def test_what_is_no_text_of_toml_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "winvm.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        config.load(tmp_path / "winvm.toml")


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "winvm.toml")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        config.load(tmp_path / "winvm.toml")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    write(tmp_path, "")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert config.find(deep) == tmp_path / "winvm.toml"


def test_no_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--config"):
        config.find(tmp_path)


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WINVM_HOME", str(tmp_path))
    assert config.home() == tmp_path
    monkeypatch.delenv("WINVM_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert config.home() == tmp_path / "cache" / "winvm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[driver]\nbulids=['x']\n", "driver.bulids: unknown key (did you mean builds?)"),
        ("[gest]\nprofile='x'\n", "gest: unknown key (did you mean guest?)"),
        ("[driver]\nzzz=1\n", "driver.zzz: unknown key."),
    ],
)
def test_the_known_key_that_was_meant_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(write(tmp_path, text))
    assert said in str(caught.value)


def test_only_an_option_guides_the_fuzzer(tmp_path: Path) -> None:
    made = config.Config(root=tmp_path).with_changes(guard=True, guidance=True)
    assert made.driver.guidance
    assert made.driver.guard
    assert made.driver.name == config.DriverSection().name
    assert not config.Config(root=tmp_path).driver.guidance
