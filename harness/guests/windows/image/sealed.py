"""A Windows image on disk: sealed as a whole, found by its profile's name.

images/windows-11-<digest12>/    0700: the disk is secret too, it holds Windows' keys
    manifest.json   what it was made from and holds, the self-check's report, size and SHA-256 of the disk
    base.qcow2      0400; machines run on overlays of it
    nvram.fd        0400; UEFI's variables as Setup left them; not there under BIOS
    secrets/        0700, files 0600
    install/        journal.jsonl and the screenshots of the installation
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ImageError
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.spec.domain import NVRAM
from harness.guests.windows.spec.profile import WindowsProfile
from harness.host.digest import file_sha256
from harness.host.locks import is_held
from harness.images.base import DiskImage, images_folder, require_whole

MANIFEST = "manifest.json"
UNFINISHED = ".install-"
"""Begins the name of a folder that an image is built in, `.install-<profile>-<random>`."""


@dataclass(frozen=True)
class WindowsImage(DiskImage):
    """A sealed image.

    Attributes:
        profile: the profile that it was installed by.
        settings: digest of that profile as it was then, see `settings_digest`.
        edition: EDITIONID of install.wim.
        firmware: `uefi` or `bios`.
        runs_out: the last day of its Windows, if that is an evaluation.
        drivers: those that Setup was given, e.g. `fwcfg`.
    """

    profile: str = ""
    settings: str = ""
    edition: str = ""
    firmware: str = ""
    runs_out: datetime.date | None = None
    drivers: tuple[str, ...] = ()

    @property
    def nvram(self) -> Path:
        """UEFI's variables; there only if `firmware` is `uefi`."""
        return self.folder / NVRAM

    @property
    def secrets(self) -> WindowsSecrets:
        """Certificate, keys and password of this image."""
        return WindowsSecrets(self.folder / "secrets")

    def fits(self, profile: WindowsProfile) -> bool:
        """Whether the settings of the profile that an image depends on are unchanged since then."""
        return self.settings == settings_digest(profile)


def settings_digest(profile: WindowsProfile) -> str:
    """Hex SHA-256 over what an installed image depends on: hardware, media and settings, not deadlines."""
    parts = {"name": profile.name, **profile.bound()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_again(profile: str) -> str:
    """The remedy for an image that is missing or not whole."""
    return f"Build it: winvm image build {profile} --iso PATH"


def lock_file(images: Path, profile: str) -> Path:
    """What the process that builds an image of that profile holds locked."""
    return images / f".lock-{profile}"


def unfinished(images: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of builds that have not ended, and whether their profile is being built just now."""
    for folder in images.glob(f"{UNFINISHED}*"):
        profile, _, _ = folder.name.removeprefix(UNFINISHED).rpartition("-")
        yield folder, is_held(lock_file(images, profile))


def seal(draft: Path, place: Path, manifest: Mapping[str, Any]) -> WindowsImage:
    """Completes the draft folder with its manifest, makes it durable and read-only, renames it to `place`.

    No process finds it before the rename. `manifest` lacks only size and digest of the disk.
    """
    disk = draft / "base.qcow2"
    whole = {**manifest, "disk_size": disk.stat().st_size, "disk_sha256": file_sha256(disk)}
    (draft / MANIFEST).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    for name in ("base.qcow2", NVRAM, MANIFEST):
        if (draft / name).exists():
            (draft / name).chmod(0o400)
            _sync(draft / name)
    draft.chmod(0o700)
    _sync(draft)
    draft.rename(place)
    _sync(place.parent)
    return load(place)


def load(folder: Path) -> WindowsImage:
    """Reads an image's manifest and checks that its files are there, in the recorded sizes.

    Raises:
        ImageError: no manifest, or not one of a Windows image, or a file is missing or was changed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        image = WindowsImage(
            folder,
            str(manifest["digest"]),
            int(manifest["disk_size"]),
            str(manifest["disk_sha256"]),
            dict(manifest["versions"]),
            str(manifest["profile"]),
            str(manifest["settings"]),
            str(manifest["edition"]),
            str(manifest["firmware"]),
            datetime.date.fromisoformat(manifest["runs_out"]) if manifest["runs_out"] else None,
            tuple(map(str, manifest.get("drivers", ()))),
            warnings=tuple(map(str, manifest.get("warnings", ()))),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"{folder} is not a Windows image: {error}.", remedy=f"Remove {folder}, and build it again."
        ) from error
    secrets = image.secrets
    needed = [image.disk, *([image.nvram] if image.firmware == "uefi" else [])]
    needed += [secrets.certificate, secrets.password_file, secrets.host_key, secrets.client_key]
    require_whole(image, needed, f"Remove {folder}. {build_again(image.profile)}")
    return image


def find(home: Path, profile: str) -> WindowsImage | None:
    """The newest whole image that was installed by the profile of that name."""
    return next((image for image in list_windows_images(home) if image.profile == profile), None)


def list_windows_images(home: Path) -> list[WindowsImage]:
    """All whole Windows images, newest first."""
    found: list[tuple[float, WindowsImage]] = []
    for manifest in images_folder(home).glob(f"windows-*/{MANIFEST}"):
        try:
            found.append((manifest.stat().st_mtime, load(manifest.parent)))
        except (OSError, ImageError):
            continue
    return [image for _, image in sorted(found, key=lambda entry: entry[0], reverse=True)]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
