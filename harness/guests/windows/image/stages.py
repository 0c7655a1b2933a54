"""The stages of an installation that a later build goes on from.

    Windows Setup -> `SET_UP`, the disk at the first logon -> provisioning -> `PROVISIONED` -> sealed image

images/.stage-<profile>/    0700
    secrets/            of the image that is being made: Windows has its password since Setup
    setup.json          what was installed; written last, so that it says that the stage is whole
    base.qcow2          0400; the disk after Setup; nvram.fd  UEFI's variables then
    provisioned.json    the self-check's report
    provisioned.qcow2   overlay on base.qcow2; provisioned.fd
    failed.qcow2        with --keep: the disk of the stage that failed

Whoever holds the lock of the profile (`sealed.lock_file`) may use the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.guests.windows.image.credentials import WindowsSecrets, make_windows_secrets
from harness.guests.windows.image.sealed import lock_file
from harness.guests.windows.spec.domain import NVRAM
from harness.host.locks import is_held
from harness.images.base import images_folder

PREFIX = ".stage-"
SET_UP, PROVISIONED = "setup", "provisioned"
_DISKS = {SET_UP: ("base.qcow2", NVRAM), PROVISIONED: ("provisioned.qcow2", "provisioned.fd")}
FAILED = "failed.qcow2"


@dataclass(frozen=True)
class Stages:
    """What is kept of one profile's installation.

    Attributes:
        folder: `images/.stage-<profile>`; may not exist.
    """

    folder: Path

    @classmethod
    def of(cls, images: Path, profile: str) -> Stages:
        """Those of a profile."""
        return cls(images / f"{PREFIX}{profile}")

    @property
    def secrets(self) -> WindowsSecrets:
        """The secrets that the installed Windows has."""
        return WindowsSecrets(self.folder / "secrets")

    @property
    def failed(self) -> Path:
        """Where the disk of a failed stage goes if it is to be kept."""
        return self.folder / FAILED

    def begin(self) -> None:
        """Removes every stage, and makes fresh secrets for a new installation."""
        self.remove()
        self.folder.mkdir(mode=0o700)
        make_windows_secrets(self.folder / "secrets")

    def remove(self) -> None:
        """Removes all that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, stage: str, disk: Path, nvram: Path | None, record: Mapping[str, Any]) -> None:
        """Keeps the end of a stage: takes its disk and firmware variables over.

        Raises:
            OSError: a file cannot be moved.
        """
        self.forget(stage)
        names = _DISKS[stage]
        for source, name in zip((disk, nvram), names, strict=True):
            if source:
                shutil.move(source, self.folder / name)
                (self.folder / name).chmod(0o400)
        whole = {**record, "bytes": (self.folder / names[0]).stat().st_size, "nvram": nvram is not None}
        half = self.folder / f"{stage}.new"
        half.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        half.replace(self.folder / f"{stage}.json")

    def forget(self, stage: str) -> None:
        """Removes one stage, and the disk of a failed one."""
        for name in (f"{stage}.json", *_DISKS[stage], FAILED):
            (self.folder / name).unlink(missing_ok=True)

    def kept(self, stage: str) -> dict[str, Any] | None:
        """The record of a stage that is whole; None if there is none."""
        disk, nvram = self.files(stage)
        try:
            record = json.loads((self.folder / f"{stage}.json").read_text(encoding="utf-8"))
            whole = disk.stat().st_size == record["bytes"] and nvram.exists() >= record["nvram"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return dict(record) if whole and self.secrets.password_file.exists() else None

    def files(self, stage: str) -> tuple[Path, Path]:
        """Disk and firmware variables of a stage; the latter are there under UEFI only."""
        disk, nvram = _DISKS[stage]
        return self.folder / disk, self.folder / nvram


def kept_stages(home: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of stages, and whether their profile is being built just now."""
    images = images_folder(home)
    for folder in images.glob(f"{PREFIX}*"):
        yield folder, is_held(lock_file(images, folder.name.removeprefix(PREFIX)))
