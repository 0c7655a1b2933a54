"""Files made under sudo: whose they are afterwards."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host.ownership import User, give, invoking_user
from harness.project import config

ROOT = Path(__file__).resolve().parents[3]
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.mark.parametrize("uid", ["", "0", "-1", "x", "4294967295", "99999999999999999999"])
def test_without_sudo_there_is_no_invoking_user(uid: str) -> None:
    assert invoking_user({"SUDO_UID": uid}, own=0) is None


def test_the_user_is_the_one_of_sudo() -> None:
    user = invoking_user({"SUDO_UID": str(NOBODY.pw_uid)}, own=0)
    assert user == User(NOBODY.pw_uid, NOBODY.pw_gid, Path(NOBODY.pw_dir))
    assert invoking_user({"SUDO_UID": str(NOBODY.pw_uid)}, own=1000) is None


@as_root
def test_what_root_made_is_given_and_no_link_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "link").symlink_to(outside)
    (folder / "runs" / "live").mkdir(parents=True)
    (folder / "others").touch()
    os.chown(folder / "others", 12345, 12345)
    give(folder, User(NOBODY.pw_uid, NOBODY.pw_gid, Path("/")), ("runs",))
    owners = {
        str(path.relative_to(tmp_path)): path.lstat().st_uid for path in [folder, *folder.rglob("*"), outside]
    }
    theirs = NOBODY.pw_uid
    assert owners == {
        "folder": theirs, "folder/a": theirs, "folder/a/b": theirs, "folder/a/b/file": theirs,
        "folder/link": theirs, "folder/runs": theirs, "folder/runs/live": 0, "folder/others": 12345,
        "outside": 0,
    }  # fmt: skip


@as_root
def test_a_command_under_sudo_leaves_the_users_files(tmp_path: Path) -> None:
    environment = {
        **os.environ, "SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": "1", "WINVM_HOME": str(tmp_path / "home")
    }  # fmt: skip
    code = (
        "from harness.project import config as c; from pathlib import Path;"
        f"p = c.Config(root=Path({str(tmp_path)!r}));"
        "made = (c.home() / 'images', p.artifacts_folder / '1', p.build_folder / 'driver');"
        "[folder.mkdir(parents=True) for folder in made]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    made = [path for path in tmp_path.rglob("*") if path.name != "nothing"]
    assert {path.stat().st_uid for path in made} == {NOBODY.pw_uid}
    assert len(made) == 6


def test_the_home_under_sudo_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINVM_HOME", raising=False)
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    if os.geteuid() == 0:
        assert config.home() == Path(NOBODY.pw_dir) / ".cache" / "winvm"
