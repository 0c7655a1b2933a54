"""A built image on disk: its files, its manifest, and the check that they are complete and unchanged.

images/wine-<digest12>/
    manifest.json   digest, kernel command line, versions, size and SHA-256 of the disk
    base.qcow2      0400; machines run on overlays of it
    vmlinuz initrd.img
    exports.json    {"ntoskrnl.exe": {"implemented": [...], "stubs": [...]}, ...}: all kernel modules of Wine
    secrets/        0700, files 0600
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import BUILD_AGAIN, ImageError
from harness.host.digest import file_sha256, is_unchanged

USER = "winvm"
"""The account that the guest's WinRM endpoint accepts."""

VERIFIED = ".verified"


@dataclass(frozen=True)
class Secrets:
    """Paths of one image's secrets; all made with the image, none of them ever leaves its folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """PEM; names 127.0.0.1 and localhost; the only certificate a transport accepts."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """PEM, of `certificate`."""
        return self.folder / "key.pem"

    @property
    def password_file(self) -> Path:
        """Text, one line."""
        return self.folder / "password"

    @property
    def password(self) -> str:
        """The WinRM password of `USER`; raises `ImageError` when the file cannot be read."""
        try:
            return self.password_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ImageError(
                f"The image's password {self.password_file} cannot be read: {error.strerror}.",
                remedy=f"Run as the user who built the image, or: {BUILD_AGAIN}",
            ) from error

    @property
    def host_key(self) -> Path:
        """OpenSSH public key that the guest's sshd presents."""
        return self.folder / "ssh_host_ed25519_key.pub"

    @property
    def client_key(self) -> Path:
        """OpenSSH private key that the guest's root account accepts."""
        return self.folder / "client_ed25519"


@dataclass(frozen=True)
class DiskImage:
    """The part that images of every flavour share: a folder, found complete by `load`, with a read-only disk.

    digest: hex SHA-256 over everything the image was made from; its first 12 digits are in the folder's name.
    versions: what the image holds (`wine`, `kernel`, `python`, `debian`; `windows`, `python`).
    warnings: what is not as it was wished when the image was made.
    """

    folder: Path
    digest: str
    disk_size: int
    disk_sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def manifest(self) -> Path:
        """JSON: what the image was made from and what it holds."""
        return self.folder / "manifest.json"

    @property
    def disk(self) -> Path:
        """The read-only qcow2."""
        return self.folder / "base.qcow2"

    @property
    def secrets(self) -> Secrets:
        """Certificate, keys and password of this image."""
        return Secrets(self.folder / "secrets")


@dataclass(frozen=True)
class BaseImage(DiskImage):
    """The Wine guest's image. cmdline: kernel command line for direct boot."""

    cmdline: str = ""

    @property
    def kernel(self) -> Path:
        """Linux kernel for direct boot."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Initial RAM disk for direct boot."""
        return self.folder / "initrd.img"

    @property
    def exports(self) -> Path:
        """JSON: which names of ntoskrnl.exe and hal.dll this guest's Wine implements and stubs."""
        return self.folder / "exports.json"


def load(folder: Path) -> BaseImage:
    """Reads an image's manifest and checks that its files are there, in the recorded sizes.

    Raises:
        ImageError: no manifest, or one that is not of this format, or a file is missing or was changed.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        image = BaseImage(
            folder,
            str(manifest["digest"]),
            int(manifest["disk_size"]),
            str(manifest["disk_sha256"]),
            dict(manifest["versions"]),
            str(manifest["cmdline"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{folder} is not an image: {error}.", remedy=BUILD_AGAIN) from error
    secrets = image.secrets
    needed = [image.disk, image.kernel, image.initrd, image.exports]
    needed += [secrets.certificate, secrets.password_file, secrets.host_key, secrets.client_key]
    require_whole(image, needed, BUILD_AGAIN)
    return image


def require_whole(image: DiskImage, needed: Iterable[Path], remedy: str) -> None:
    """Raises `ImageError` unless the files are there and the disk has its recorded size."""
    for path in needed:
        if not path.is_file():
            raise ImageError(f"The image file {path} is missing.", remedy=remedy)
    size = image.disk.stat().st_size
    if size != image.disk_size:
        raise ImageError(
            f"The image disk {image.disk} has {size} bytes, not the {image.disk_size} it was built with.",
            remedy=remedy,
        )


def verify(image: DiskImage) -> None:
    """Reads the whole disk (seconds) and compares it with the manifest; `load` only looks at its size.

    Raises:
        ImageError: the disk is not the one that was built.
    """
    found = file_sha256(image.disk)
    if found != image.disk_sha256:
        raise ImageError(
            f"The image disk {image.disk} was changed: SHA-256 {found}, built as {image.disk_sha256}.",
            remedy=BUILD_AGAIN,
        )


def verify_if_touched(image: DiskImage) -> None:
    """Calls `verify` only if the disk's inode has changed since the disk was last verified.

    Raises:
        ImageError: the disk is not the one that was built.
    """
    if not is_unchanged(image.disk, image.disk_sha256, image.folder / VERIFIED):
        verify(image)


def images_folder(home: Path) -> Path:
    """Where images live under the bench's home."""
    return home / "images"


def list_images(home: Path) -> list[BaseImage]:
    """All complete images, newest first; damaged folders are left out."""
    found: list[tuple[float, BaseImage]] = []
    for manifest in images_folder(home).glob("*/manifest.json"):
        try:
            found.append((manifest.stat().st_mtime, load(manifest.parent)))
        except (OSError, ImageError):
            continue
    return [image for _, image in sorted(found, key=lambda entry: entry[0], reverse=True)]
