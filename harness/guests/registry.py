"""Finds the flavour of guest that a profile names. No other module of winvm asks for a guest's flavour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from harness.errors import ConfigurationError
from harness.guests.flavour import BuildOption, BuildsUnasked, Flavour, Installed
from harness.plugins import FLAVOURS
from harness.project.profile import Profile
from harness.project.profiles import find_profile

if TYPE_CHECKING:
    from harness.guests.link import BootableGuest
    from harness.journal import Journal
    from harness.machine.accelerator import Accelerator


def flavour_of(profile: Profile) -> Flavour:
    """The flavour that a profile's `guest` names.

    Raises:
        ConfigurationError: there is no such flavour.
    """
    return cast("Flavour", FLAVOURS.find(profile.guest))


def flavours() -> list[Flavour]:
    """All flavours that can be loaded, winvm's own first; see `broken_flavours`."""
    return _loaded()[0]


def broken_flavours() -> list[ConfigurationError]:
    """For each flavour that cannot be loaded: its name, its package and the remedy.

    Commands for all flavours warn with these and do without them. A profile of such a flavour is refused.
    """
    return _loaded()[1]


def _loaded() -> tuple[list[Flavour], list[ConfigurationError]]:
    found: list[Flavour] = []
    broken: list[ConfigurationError] = []
    for name in FLAVOURS.names():
        try:
            found.append(cast("Flavour", FLAVOURS.find(name)))
        except ConfigurationError as error:
            broken.append(error)
    return found, broken


def build_options() -> list[BuildOption]:
    """The options of `winvm image build`, each once.

    Raises:
        ConfigurationError: two flavours define an option of the same name differently.
    """
    found: dict[str, BuildOption] = {}
    for flavour in flavours():
        for option in flavour.build_options:
            if found.setdefault(option.name, option) != option:
                raise ConfigurationError(
                    f"Two guest flavours define the option --{option.name} differently.",
                    remedy="Remove the package that brings one of them.",
                )
    return list(found.values())


def find_flavour(
    profile: Profile, accelerator: Accelerator, home: Path, journal: Journal, verified: str = ""
) -> Installed:
    """The image that a run of a profile takes; see `Flavour.find`."""
    return flavour_of(profile).find(profile, accelerator, home, journal, verified)


def replayed_flavour(
    profile: Profile,
    digest: str,
    accelerator: Accelerator,
    home: Path,
    journal: Journal,
    verified: str = "",
    *,
    any_image: bool,
) -> Installed:
    """As `find_flavour`, but for the image of this digest; see `Flavour.replay`."""
    return flavour_of(profile).replay(
        profile, digest, accelerator, home, journal, verified, any_image=any_image
    )


def reopen(profile: str, image: Path, project: Path | None = None) -> BootableGuest:
    """The guest that another process started, from the name of its profile and its image's folder.

    Raises:
        ImageError: the image is gone or damaged.
        ConfigurationError: the profile is gone or cannot be used.
    """
    known = find_profile(profile, project)
    return flavour_of(known).reopen(known, image)


def image_key(profile: str, project: Path | None = None) -> str:
    """The key under which a cache may keep the image of a profile.

    Raises:
        ConfigurationError: there is no such profile, or its image is made from the user's own files.
        HostError, ImageError: the installation is incomplete.
    """
    flavour = flavour_of(find_profile(profile, project))
    if not isinstance(flavour, BuildsUnasked):
        raise ConfigurationError(
            f"The image of {profile!r} is made from files of your own: it has no key before it is built.",
            remedy="Build it once on a runner that keeps WINVM_HOME.",
        )
    return flavour.image_key(find_profile(profile, project))
