"""A ReactOS image on disk: sealed as a whole, found by its profile's name.

images/reactos-x64-<digest12>/   0700
    manifest.json   what it was made from and holds, size and SHA-256 of the disk
    base.qcow2      0400; machines run on overlays of it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ImageError
from harness.guests.reactos.spec.profile import build_again
from harness.host.digest import file_sha256
from harness.images.base import DiskImage, images_folder, require_whole

MANIFEST = "manifest.json"
UNFINISHED = ".reactos-"
"""Begins the name of a folder that an image is built in."""


@dataclass(frozen=True)
class ReactosImage(DiskImage):
    """A sealed image. profile: the profile that it was built for."""

    profile: str = ""


def seal(draft: Path, place: Path, manifest: Mapping[str, Any]) -> ReactosImage:
    """Completes the draft folder with its manifest and renames it to `place`.

    No process finds it before the rename. `manifest` lacks only size and digest of the disk.
    """
    disk = draft / "base.qcow2"
    whole = {**manifest, "disk_size": disk.stat().st_size, "disk_sha256": file_sha256(disk)}
    (draft / MANIFEST).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    draft.chmod(0o700)
    draft.rename(place)
    return load(place)


def load(folder: Path) -> ReactosImage:
    """Reads an image's manifest and checks that its disk is there, in the recorded size.

    Raises:
        ImageError: no manifest, or not one of a ReactOS image, or the disk is missing or was changed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        image = ReactosImage(
            folder,
            str(manifest["digest"]),
            int(manifest["disk_size"]),
            str(manifest["disk_sha256"]),
            dict(manifest["versions"]),
            str(manifest["profile"]),
        )
        image.versions["reactos"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"{folder} is not a ReactOS image: {error}.", remedy=f"Remove {folder}, and build it again."
        ) from error
    require_whole(image, [image.disk], f"Remove {folder}. {build_again(image.profile)}")
    return image


def list_reactos_images(home: Path) -> list[ReactosImage]:
    """All whole images, newest first."""
    found: list[tuple[float, ReactosImage]] = []
    for manifest in images_folder(home).glob(f"reactos-*/{MANIFEST}"):
        try:
            found.append((manifest.stat().st_mtime, load(manifest.parent)))
        except (OSError, ImageError):
            continue
    return [image for _, image in sorted(found, key=lambda entry: entry[0], reverse=True)]
