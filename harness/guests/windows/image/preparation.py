"""Everything that is decided before a machine starts: what is installed, from what, with which settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.windows.image import configuration, provisioning
from harness.guests.windows.image.answer import TEMPLATE, Answers
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.image.drivers import needed_drivers, read_drivers
from harness.guests.windows.image.iso import Media, read_media
from harness.guests.windows.image.media import Choice, choose
from harness.guests.windows.image.openssh import read_openssh
from harness.guests.windows.image.provisioning import Driver, ssh_source
from harness.guests.windows.image.python import python_zip
from harness.guests.windows.image.sealed import settings_digest
from harness.guests.windows.image.tools import HostTools
from harness.guests.windows.spec.profile import WindowsProfile
from harness.host.resources import vm_folder
from harness.images.recipe import input_digest
from harness.journal import Journal, StepKind

PREPARE_S = 600.0
"""Reading the ISOs takes a second; the rest is for the download of Python."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        virtio_iso: the virtio-win ISO; needed where the profile has virtio hardware.
        openssh: Win32-OpenSSH's zip; without it, Windows versions that bring no SSH server download theirs.
        driver: the project's driver, whose test certificate the guest is to trust.
        shown: called with the folder of each machine that is started.
    """

    profile: WindowsProfile
    iso: Path
    virtio_iso: Path | None = None
    openssh: Path | None = None
    driver: Driver | None = None
    shown: Callable[[Path], None] = lambda folder: None  # noqa: ARG005


@dataclass(frozen=True)
class Preparation:
    """What was found in the files that the request names. python: the zip with Windows CPython."""

    request: Request
    media: Media
    choice: Choice
    python: Path
    openssh: Mapping[str, bytes]
    drivers: Mapping[str, bytes]

    @property
    def ssh(self) -> str:
        """Where the guest gets OpenSSH's server from."""
        return ssh_source(self.request.profile, bundled=bool(self.openssh))

    @property
    def online(self) -> bool:
        """Whether the guest needs the network while it is installed."""
        return self.ssh == "capability"

    def digest(self, iso_sha256: str) -> str:
        """Hex SHA-256 over all that the image is made from, but for its secrets and the project's driver."""
        template = vm_folder() / TEMPLATE
        parts = {"iso": iso_sha256, "index": self.choice.image.index, "python": self.python.name}
        parts |= {"settings": settings_digest(self.request.profile)}
        files = {"parts": json.dumps(parts, sort_keys=True).encode(), "program": provisioning.program()}
        files |= {path.name: path.read_bytes() for path in (template, template.with_name("start.cmd"))}
        files |= {f"openssh/{name}": content for name, content in self.openssh.items()}
        return input_digest(files | {f"drivers/{name}": content for name, content in self.drivers.items()})

    def configuration(self, secrets: WindowsSecrets) -> dict[str, bytes]:
        """Path -> content of the configuration ISO; secret.

        Raises:
            ConfigurationError: see `provisioning.files`.
        """
        request = self.request
        answers = Answers(request.profile, self.choice, secrets.password, bool(self.drivers))
        settings = provisioning.files(request.profile, secrets, request.driver, bundled=bool(self.openssh))
        return configuration.contents(
            answers.render(),
            self.python.read_bytes(),
            provisioning.program(),
            settings,
            self.openssh,
            self.drivers,
        )


def prepare(request: Request, home: Path, journal: Journal) -> Preparation:
    """Reads the ISOs and the zip, chooses the edition, and gets Windows Python.

    Raises:
        ConfigurationError: a file that the request names cannot be used; says why and what to do.
        ImageError, HostError, DeadlineError: Windows Python cannot be downloaded or verified.
    """
    deadline = Deadline.after(PREPARE_S)
    with journal.step(StepKind.IMAGE, "image: read the installation ISO") as found:
        media = read_media(request.iso, deadline)
        choice = choose(media, request.profile)
        found |= {"edition": choice.image.edition, "build": choice.image.build, "index": choice.image.index}
    _tell(request, choice, journal)
    openssh = read_openssh(request.openssh) if request.openssh else {}
    drivers = read_drivers(request.profile, request.virtio_iso, deadline)
    with journal.step(StepKind.IMAGE, "image: Windows Python, downloaded by hash, signatures verified"):
        python = python_zip(home / "downloads", HostTools(deadline))
    return Preparation(request, media, choice, python, openssh, drivers)


def _tell(request: Request, choice: Choice, journal: Journal) -> None:
    """Notes what the user should know before an installation of about an hour."""
    if days := choice.evaluation_days:
        journal.note(
            f"{choice.image.edition} runs for {days} days; then it shuts itself down about every hour"
        )
    if not choice.language.startswith("en"):
        journal.warn(f"the ISO is in {choice.language}; winvm was written for English ISOs only")
    if request.virtio_iso and not needed_drivers(request.profile):
        journal.note(f"{request.profile.name} has no virtio hardware: {request.virtio_iso} is not used")
