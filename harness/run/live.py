"""The guest that `winvm up` leaves running: its record on disk, and how another process finds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.debuggers.kd.line import KernelLine
from harness.errors import ConfigurationError
from harness.guests.flavour import DebugLines
from harness.guests.registry import flavour_of
from harness.machine.protocol import Channels
from harness.machine.runfolder import runs_of
from harness.project.profile import Profile
from harness.project.profiles import find_profile

RECORD = "up.json"


class LiveGuest(BaseModel):
    """What other commands need to reach the guest, without opening libvirt.

    Attributes:
        folder: run folder that holds the machine.
        profile: name of its profile.
        root: the project's folder, searched first for profiles.
        image: folder of its image.
        address, ports: where its forwards listen on the host.
        machine: the machine's own folder, with its channel files.
        project: key from `project_key`.
        build, driver: the driver build that was loaded, and the SHA-256 (hex) of its `.sys`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    profile: str
    image: Path
    address: str
    ports: Mapping[str, int]
    machine: Path
    project: str
    build: str
    driver: str
    root: Path | None = None

    @property
    def channels(self) -> Channels:
        """The host's ends of the guest's serial ports and debug channel."""
        return Channels.inside(self.machine)

    def debug_output(self) -> Path:
        """The file that the guest prints to.

        Raises:
            ConfigurationError: its kernel prints to a debugger instead, and no debugger is connected.
        """
        profile = self.loaded_profile()
        return flavour_of(profile).debug_output(profile, self.channels)

    def debug_lines(self) -> DebugLines:
        """The reader of that file's format."""
        return flavour_of(self.loaded_profile()).debug_lines()

    def kernel_line(self) -> KernelLine:
        """The debugger connection of its kernel.

        Raises:
            ConfigurationError: it has no Windows kernel, or its debugger is off.
        """
        profile = self.loaded_profile()
        return flavour_of(profile).kernel_line(profile, self.machine, self.image)

    def loaded_profile(self) -> Profile:
        """Its profile as it is now; raises `ConfigurationError` if that is unusable."""
        return find_profile(self.profile, self.root)

    def save(self) -> None:
        """Writes the record into the run folder."""
        (self.folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def project_key(root: Path, profile: str) -> str:
    """A key for the guest of one project and profile, so that no project uses the guest of another."""
    return hashlib.sha256(f"{root.resolve()}\0{profile}".encode()).hexdigest()[:12]


def find(home: Path) -> LiveGuest:
    """The guest that is up; the newest if there are several.

    Raises:
        ConfigurationError: none is up, or its record is damaged.
    """
    for guest in _guests(home):
        return guest
    raise ConfigurationError("No guest is up.", remedy="Run `winvm up` first.")


def find_of(home: Path, project: str) -> LiveGuest | None:
    """A project's guest that is up, the newest.

    Raises:
        ConfigurationError: a record is damaged.
    """
    return next((guest for guest in _guests(home) if guest.project == project), None)


def _guests(home: Path) -> Iterator[LiveGuest]:
    for folder in reversed(runs_of(home / "runs")):
        record = folder / RECORD
        if not record.is_file():
            continue
        try:
            yield LiveGuest.model_validate_json(record.read_bytes())
        except ValidationError as error:
            raise ConfigurationError(
                f"{record} is damaged.", remedy="Run `winvm down`, then `winvm up`."
            ) from error
