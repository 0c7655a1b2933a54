"""Chooses the edition of an ISO that a profile installs, or says for each edition why it cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from harness.errors import ConfigurationError
from harness.guests.windows.image.iso import Media
from harness.guests.windows.image.wim import WimImage
from harness.guests.windows.spec.profile import Install, WindowsProfile
from harness.project.profiles import shipped

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
EVALUATION = "Eval"
CLIENT_DAYS, SERVER_DAYS = 90, 180
"""The term of an evaluation."""
UNACTIVATED_SERVER_DAYS = 10
"""In which a Server's must be activated (Microsoft Evaluation Center)."""


@dataclass(frozen=True)
class Choice:
    """The edition to install.

    Attributes:
        product_key: what Setup is given; empty on evaluation media, which refuse any.
        language: of Setup's and Windows' texts, e.g. `en-US`.
    """

    image: WimImage
    product_key: str
    language: str

    @property
    def evaluation(self) -> bool:
        """Whether this Windows runs for a time only, and then shuts itself down about hourly."""
        return self.image.edition.endswith(EVALUATION)

    @property
    def evaluation_days(self) -> int:
        """The term of this Windows; 0 if it is no evaluation."""
        if not self.evaluation:
            return 0
        return CLIENT_DAYS if self.image.installation == "Client" else SERVER_DAYS

    @property
    def certain_days(self) -> int:
        """How many days it runs at least, whatever its licence state."""
        server = self.evaluation and self.image.installation != "Client"
        return UNACTIVATED_SERVER_DAYS if server else self.evaluation_days


def choose(media: Media, profile: WindowsProfile, edition: str = "") -> Choice:
    """The edition of `media` that the profile prefers, or the one that is asked for.

    Setup gets the image's index: on some consumer media an edition has the name of another Windows.

    Args:
        edition: EDITIONID, name or index of one that the profile takes.

    Raises:
        ConfigurationError: the ISO holds no edition that the profile takes; says why, and which profile
            would take it.
    """
    fitting = [image for image in media.images if not _unfit(image, profile.install)]
    wanted = list(profile.install.editions)
    fitting.sort(key=lambda image: (wanted.index(image.edition), image.index))
    if not fitting:
        raise _refusal(media, profile)
    if edition:
        fitting = [image for image in fitting if _is(image, edition)] or _no_such(fitting, edition)
    image = fitting[0]
    return Choice(image, profile.install.editions[image.edition], image.languages[0])


def _is(image: WimImage, edition: str) -> bool:
    return edition.casefold() in (image.edition.casefold(), image.name.casefold(), str(image.index))


def _no_such(fitting: list[WimImage], edition: str) -> NoReturn:
    known = ", ".join(f"{image.index}: {image.edition} ({image.name or 'unnamed'})" for image in fitting)
    raise ConfigurationError(
        f"The ISO holds no edition {edition!r} that the profile takes.", remedy=f"It has {known}."
    )


def _unfit(image: WimImage, install: Install) -> str:
    """Why this image cannot be installed for that profile; empty if it can."""
    if image.architecture != "amd64":
        return f"is for {image.architecture}, and only amd64 (x64) can be used"
    if image.installation != install.kind:
        return f"is {image.installation or 'no Windows'}, not {install.kind}"
    if not install.oldest_build <= image.build <= install.newest_build:
        return f"is build {image.build}, not one from {install.oldest_build} to {install.newest_build}"
    if image.edition not in install.editions:
        return f"is edition {image.edition or 'unknown'}, not {' or '.join(install.editions)}"
    if not image.languages or not _LANGUAGE.fullmatch(image.languages[0]):
        return f"has no language that Setup accepts ({', '.join(image.languages) or 'none'})"
    return ""


def _refusal(media: Media, profile: WindowsProfile) -> ConfigurationError:
    reasons = {image.index: _unfit(image, profile.install) for image in media.images}
    listed = "\n".join(
        f"{image.index}: {image.name or 'unnamed'} {reasons[image.index]}" for image in media.images
    )
    distinct = sorted(set(reasons.values())) or ["lists no images"]
    why = distinct[0] if len(distinct) == 1 else "; ".join(distinct[:3])
    others = [
        other.name
        for other in shipped(WindowsProfile)
        if any(not _unfit(image, other.install) for image in media.images)
    ]
    if others:
        remedy = f"Build {' or '.join(others)} from it, or name another ISO."
    elif all(image.architecture != "amd64" for image in media.images):
        remedy = "Download the x64 ISO of this Windows."
    else:
        remedy = f"Name an x64 ISO that {profile.name} takes; docs/windows-guest.md lists them."
    return ConfigurationError(
        f"{media.iso} holds nothing that {profile.name} installs: {why}.", remedy=remedy, detail=listed
    )
