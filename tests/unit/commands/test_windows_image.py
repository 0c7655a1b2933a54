"""`winvm image build` for Windows: what it refuses before anything is started, and what it finds again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import Invocation
from harness.commands.image import image
from harness.errors import ConfigurationError, ImageError, WinvmError
from harness.guests.windows.image.credentials import make_windows_secrets
from harness.guests.windows.image.dryrun import dry_run
from harness.guests.windows.image.preparation import Request
from harness.guests.windows.image.sealed import (
    WindowsImage,
    find,
    list_windows_images,
    load,
    seal,
    settings_digest,
)
from harness.journal import Journal
from tests.fakes.profiles import windows_profile
from tests.fakes.windows_media import ENTERPRISE_11, windows_iso

PROFILE = windows_profile("windows-11")


def invoked(*arguments: str) -> WinvmError:
    result = CliRunner().invoke(image, ["build", *arguments], obj=Invocation(None))
    assert isinstance(result.exception, WinvmError), result.output
    assert result.exception.remedy
    return result.exception


def test_an_unknown_image_is_reported_with_the_known_ones() -> None:
    error = invoked("windows-12")
    assert isinstance(error, ConfigurationError)
    assert "wine, reactos-x64, windows-10, windows-11, windows-server-2019" in error.remedy


def test_a_windows_needs_an_iso_and_wine_takes_none(tmp_path: Path) -> None:
    assert "--iso PATH" in invoked("windows-11").remedy
    assert "takes no ISO" in invoked("wine", "--iso", str(tmp_path / "x.iso")).message


def test_a_damaged_project_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "winvm.toml").write_text("wrong = 1")
    assert "wrong" in invoked("windows-11", "--iso", "x.iso").message


def test_an_iso_that_cannot_be_used_ends_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    iso = windows_iso(tmp_path, {**ENTERPRISE_11, "ARCH": "12"})
    command = [sys.executable, "-m", "harness", "image", "build", "windows-11", "--iso", str(iso)]
    done = subprocess.run(
        [*command, "--dry-run", str(tmp_path / "dry")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "arm64" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    request = Request(PROFILE, tmp_path / "none.iso")
    with pytest.raises(ConfigurationError, match="is not empty"):
        dry_run(request, tmp_path / "home", tmp_path / "used", Journal())
    with pytest.raises(ConfigurationError, match="cannot be written"):
        dry_run(request, tmp_path / "home", tmp_path / "used" / "file", Journal())


def sealed(
    home: Path, digest: str = "0123456789abcdef", firmware: str = "uefi", **more: object
) -> WindowsImage:
    """An image as a build seals it, with a disk of a few bytes."""
    images = home / "images"
    draft = images / ".install-windows-11-x" / "image"
    draft.mkdir(parents=True, exist_ok=True)
    (draft / "base.qcow2").write_bytes(b"disk")
    (draft / "nvram.fd").write_bytes(b"variables")
    make_windows_secrets(draft / "secrets")
    manifest = {
        "digest": digest,
        "profile": "windows-11",
        "settings": settings_digest(PROFILE),
        "edition": "EnterpriseEval",
        "firmware": firmware,
        "runs_out": "2027-02-19",
        "versions": {"windows": "10.0.26100.1742"},
        **more,
    }
    return seal(draft, images / f"windows-11-{digest[:12]}", manifest)


def test_a_sealed_image_is_found_by_its_profile(tmp_path: Path) -> None:
    made = sealed(tmp_path)
    assert find(tmp_path, "windows-11") == made == load(made.folder)
    assert find(tmp_path, "windows-10") is None
    assert made.fits(PROFILE)
    assert {path.stat().st_mode & 0o777 for path in (made.disk, made.nvram, made.manifest)} == {0o400}


def test_nobody_else_may_read_what_is_on_the_disk(tmp_path: Path) -> None:
    assert sealed(tmp_path).folder.stat().st_mode & 0o777 == 0o700


def test_the_newest_image_is_taken(tmp_path: Path) -> None:
    first, second = sealed(tmp_path, "a" * 16), sealed(tmp_path, "b" * 16)
    os.utime(first.manifest, (1, 1))
    assert list_windows_images(tmp_path) == [second, first]


def test_half_an_image_is_never_found(tmp_path: Path) -> None:
    made = sealed(tmp_path)
    draft = tmp_path / "images" / ".install-windows-11-y" / "image"
    draft.mkdir(parents=True)
    (draft / "manifest.json").write_bytes(made.manifest.read_bytes())
    assert list_windows_images(tmp_path) == [made]
    made.nvram.unlink()
    with pytest.raises(ImageError, match=r"nvram\.fd is missing") as caught:
        load(made.folder)
    assert "winvm image build windows-11 --iso PATH" in caught.value.remedy
    assert list_windows_images(tmp_path) == []


def test_an_image_of_other_settings_does_not_fit(tmp_path: Path) -> None:
    made = sealed(tmp_path)
    longer = PROFILE.install.model_copy(update={"deadline": 1.0, "stall": 1.0})
    assert made.fits(PROFILE.model_copy(update={"install": longer}))
    provision = PROFILE.provision.model_copy(update={"dump": "complete"})
    assert not made.fits(PROFILE.model_copy(update={"provision": provision}))


def test_list_shows_windows_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = sealed(tmp_path)
    monkeypatch.setenv("WINVM_HOME", str(tmp_path))
    result = CliRunner().invoke(image, ["list", "--json"])
    assert json.loads(result.output) == {"folder": str(made.folder), "bytes": 4, "windows": "10.0.26100.1742"}
    assert "windows 10.0.26100.1742" in CliRunner().invoke(image, ["list"]).output
