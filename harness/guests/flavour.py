"""Which flavour of guest a profile means: its image, its machine, its ways in. Nothing else asks for that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import ConfigurationError, ImageError
from harness.guests.windows.guest import WindowsGuest, session_version
from harness.guests.wine.guest import WineGuest
from harness.images import base, wine
from harness.images.base import BaseImage
from harness.images.replayed import replay_image
from harness.images.windows import sealed
from harness.images.windows.sealed import WindowsImage
from harness.journal import Journal
from harness.machine.accelerator import Accelerator
from harness.machine.direct_boot import MachineSpec
from harness.machine.machine import Spec
from harness.machine.windows_domain import WindowsSpec
from harness.project.profile import Profile, WindowsProfile


@dataclass(frozen=True)
class Flavour:
    """An image, and what follows from its flavour.

    exports: the kernel's names that the guest has, where that is not all of Windows': see `wine_exports`.
    """

    image: BaseImage | WindowsImage
    guest: WineGuest | WindowsGuest
    spec: Spec
    exports: Path | None


def wine_flavour(image: BaseImage, profile: Profile, accelerator: Accelerator) -> Flavour:
    """What follows from an image of the embedded guest; raises `ImageError` for one that is not whole."""
    spec = MachineSpec.checked(image.folder, profile, accelerator)
    return Flavour(image, WineGuest(image), spec, image.exports)


def windows_flavour(
    image: WindowsImage, profile: WindowsProfile, accelerator: Accelerator, verified: str = ""
) -> Flavour:
    """What follows from an image of a Windows; raises `ImageError` for one that is not whole."""
    spec = WindowsSpec.checked(image.folder, profile, accelerator, session_version(verified))
    return Flavour(image, WindowsGuest(image, profile, verified), spec, None)


def find_flavour(
    profile: Profile, accelerator: Accelerator, home: Path, journal: Journal, verified: str = ""
) -> Flavour:
    """The newest image of a profile. Wine's is built if there is none; a Windows needs the user's ISO.

    Args:
        verified: file name of the driver that a Windows guest's Driver Verifier is to watch.

    Raises:
        ImageError: it cannot be built, or must be built first, or was built for other settings.
    """
    if not isinstance(profile, WindowsProfile):
        return wine_flavour(wine.ensure(home, journal), profile, accelerator)
    image = sealed.find(home, profile.name)
    if image is None:
        raise ImageError(
            f"There is no image of {profile.name} in {base.images_folder(home)}.",
            remedy=sealed.build_again(profile.name),
        )
    if not image.fits(profile):
        raise ImageError(
            f"{image.folder.name} was built before vm/profiles/{profile.name}.toml was changed.",
            remedy=sealed.build_again(profile.name),
        )
    _warn_of_end(image, journal)
    return windows_flavour(image, profile, accelerator, verified)


def replayed_flavour(
    profile: Profile,
    digest: str,
    accelerator: Accelerator,
    home: Path,
    journal: Journal,
    verified: str = "",
    *,
    any_image: bool,
) -> Flavour:
    """As `find_flavour`, but for the image of this digest, or failing that for any if that will do.

    Raises:
        ConfigurationError: it cannot be had, and no other is wanted.
        ImageError: see `find_flavour`.
    """
    if not isinstance(profile, WindowsProfile):
        return wine_flavour(replay_image(digest, home, journal, any_image=any_image), profile, accelerator)
    for image in sealed.list_windows_images(home):
        if image.digest == digest:
            _warn_of_end(image, journal)
            return windows_flavour(image, profile, accelerator, verified)
    if not any_image:
        raise ConfigurationError(
            f"The crash happened in guest image {digest[:12]}, which is not here.",
            remedy="Build it from the same ISO, or replay it in another image: --any-image",
        )
    return find_flavour(profile, accelerator, home, journal, verified)


def reopen(profile: str, image: Path) -> WineGuest | WindowsGuest:
    """The guest that another process started, from the name of its profile and its image's folder.

    Raises:
        ImageError: the image is gone or damaged.
        ConfigurationError: the profile is.
    """
    known = Profile.named(profile)
    if isinstance(known, WindowsProfile):
        return WindowsGuest(sealed.load(image), known)
    return WineGuest(base.load(image))


def _warn_of_end(image: WindowsImage, journal: Journal) -> None:
    """Whoever does not know it looks for a crash: the guest just goes off."""
    if image.runs_out and image.runs_out < datetime.now(UTC).date():
        journal.warn(
            f"the evaluation in {image.folder.name} ended on {image.runs_out}: its Windows shuts itself down"
            f" about every hour. Remove {image.folder}, and build it again"
        )
