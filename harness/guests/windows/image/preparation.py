"""Everything that is decided before a machine starts: what is installed, from what, with which settings."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.guests.windows.image import configuration, provisioning
from harness.guests.windows.image.answer import TEMPLATE, Answers
from harness.guests.windows.image.configuration import SCRIPTS
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.image.drivers import needed_drivers, read_drivers
from harness.guests.windows.image.iso import Media, read_media
from harness.guests.windows.image.media import Choice, choose
from harness.guests.windows.image.openssh import read_openssh
from harness.guests.windows.image.provisioning import Driver, ssh_source
from harness.guests.windows.image.python import python_zip
from harness.guests.windows.image.sealed import settings_digest
from harness.guests.windows.image.tools import HostTools
from harness.guests.windows.image.wim import WimImage
from harness.guests.windows.spec.profile import BOUND, WindowsProfile
from harness.host.resources import vm_folder
from harness.images.recipe import input_digest
from harness.journal import Journal, StepKind

PREPARE_S = 600.0
"""Reading the ISOs takes a second; the rest is for the download of Python."""
SETUP_HARDWARE = BOUND - {"kd"}
"""Hardware that Windows Setup adapts Windows to; the debugger is set later."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        virtio_iso: the virtio-win ISO; needed where the profile has virtio hardware.
        openssh: Win32-OpenSSH's zip; without it, Windows versions that bring no SSH server download theirs.
        iso: None provisions the installation again whose end of Setup is kept.
        driver: the project's driver, whose test certificate the guest is to trust.
        edition: which to install; empty for the one that the profile prefers.
        resume: go on from the last stage that is kept. keep: remove no stage, nor the disk of a failed one.
        shown: called with the folder of each machine that is started.
    """

    profile: WindowsProfile
    iso: Path | None
    virtio_iso: Path | None = None
    openssh: Path | None = None
    driver: Driver | None = None
    edition: str = ""
    resume: bool = False
    keep: bool = False
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
        """Whether the guest needs the network while it is provisioned: to download, or to be activated."""
        return self.ssh == "capability" or self.choice.evaluation

    def setup_digest(self, iso_sha256: str) -> str:
        """Hex SHA-256 over all that Windows Setup depends on; provisioning may change without it."""
        profile, template = self.request.profile, vm_folder() / TEMPLATE
        hardware = profile.hardware.model_dump(mode="json", include=SETUP_HARDWARE)
        parts = {
            "iso": iso_sha256,
            "index": self.choice.image.index,
            "key": self.choice.product_key,
            "hardware": hardware,
            "bypass": profile.install.bypass,
        }
        files = {"parts": json.dumps(parts, sort_keys=True).encode(), template.name: template.read_bytes()}
        return input_digest(files | {f"drivers/{name}": content for name, content in self.drivers.items()})

    def digest(self, setup: str) -> str:
        """Hex SHA-256 over all that the image is made from, but for its secrets and the project's driver.

        Args:
            setup: see `setup_digest`.
        """
        scripts = [vm_folder() / "windows" / name for name in SCRIPTS]
        parts = {
            "setup": setup,
            "python": self.python.name,
            "settings": settings_digest(self.request.profile),
        }
        files = {"parts": json.dumps(parts, sort_keys=True).encode(), "program": provisioning.program()}
        files |= {path.name: path.read_bytes() for path in scripts}
        files |= {
            f"own/{name}": content for name, content in provisioning.own_files(self.request.profile).items()
        }
        return input_digest(files | {f"openssh/{name}": content for name, content in self.openssh.items()})

    def configuration(self, secrets: WindowsSecrets) -> dict[str, bytes]:
        """Path -> content of the configuration ISO; secret.

        Raises:
            ConfigurationError: see `provisioning.files`.
        """
        request = self.request
        answers = Answers(request.profile, self.choice, secrets.password, bool(self.drivers))
        settings = provisioning.files(
            request.profile,
            secrets,
            request.driver,
            bundled=bool(self.openssh),
            evaluation=self.choice.evaluation,
        )
        return configuration.contents(
            answers.render(),
            self.python.read_bytes(),
            provisioning.program(),
            settings,
            self.openssh,
            self.drivers,
        )


def prepare(
    request: Request, home: Path, journal: Journal, installed: Mapping[str, Any] | None = None
) -> Preparation:
    """Reads the ISOs and the zip, chooses the edition, and gets Windows Python.

    Args:
        installed: the record of a finished Setup (see `record_of`), where the request names no ISO.

    Raises:
        ConfigurationError: a file that the request names cannot be used; says why and what to do.
        ImageError, HostError, DeadlineError: Windows Python cannot be downloaded or verified.
    """
    deadline = Deadline.after(PREPARE_S)
    if request.iso:
        with journal.step(StepKind.IMAGE, "image: read the installation ISO") as found:
            media = read_media(request.iso, deadline)
            choice = choose(media, request.profile, request.edition)
            image = choice.image
            found |= {"edition": image.edition, "build": image.build, "index": image.index}
        drivers = read_drivers(request.profile, request.virtio_iso, deadline)
    else:
        assert installed is not None
        (media, choice), drivers = _installed(installed), {}
    _tell(request, choice, drivers, journal)
    openssh = read_openssh(request.openssh) if request.openssh else {}
    with journal.step(StepKind.IMAGE, "image: Windows Python, downloaded by hash, signatures verified"):
        python = python_zip(home / "downloads", HostTools(deadline))
    return Preparation(request, media, choice, python, openssh, drivers)


def record_of(preparation: Preparation, iso_sha256: str) -> dict[str, Any]:
    """What is remembered of a finished Setup: enough to provision and seal it without its ISO."""
    media, choice = preparation.media, preparation.choice
    return {
        "setup": preparation.setup_digest(iso_sha256),
        "iso": {"name": media.iso.name, "bytes": media.size, "sha256": iso_sha256},
        "file": media.file,
        "image": asdict(choice.image),
        "language": choice.language,
        "drivers": sorted({name.partition("/")[0] for name in preparation.drivers}),
        "installed": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _installed(record: Mapping[str, Any]) -> tuple[Media, Choice]:
    image = WimImage(**{**record["image"], "languages": tuple(record["image"]["languages"])})
    media = Media(Path(record["iso"]["name"]), int(record["iso"]["bytes"]), str(record["file"]), (image,))
    return media, Choice(image, "", str(record["language"]))


def _tell(request: Request, choice: Choice, drivers: Mapping[str, bytes], journal: Journal) -> None:
    """Notes what the user should know before an installation of about an hour."""
    if choice.evaluation:
        journal.note(
            f"{choice.image.edition} is activated while it is provisioned, if this host reaches Microsoft;"
            " the image's manifest then says until when it runs"
        )
    if not choice.language.startswith("en"):
        journal.warn(f"the ISO is in {choice.language}; winvm was written for English ISOs only")
    if request.virtio_iso and not needed_drivers(request.profile) and not drivers:
        journal.note(f"{request.profile.name} has no virtio hardware: {request.virtio_iso} is not used")
