"""A third flavour of guest, as another package would add it; it exists only inside `registered()`.

Its image is a folder with a disk of a few bytes; its guest is `FakeGuest`. Its profiles may say how loud
it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from pydantic import Field

from harness.deadline import Deadline
from harness.debuggers.kd.line import KernelLine
from harness.errors import ConfigurationError, ImageError
from harness.guests.flavour import (
    BuildOption,
    BuildRequest,
    DebugLines,
    DryRun,
    Installed,
    StoredImage,
)
from harness.guests.link import BootableGuest
from harness.images.base import DiskImage, images_folder
from harness.interfaces import EntryStatus
from harness.journal import Journal, StepKind
from harness.machine.accelerator import Accelerator
from harness.machine.domain import HostSide
from harness.machine.protocol import Channels, Machine
from harness.outcome import CrashHint, DebugRecord, KernelCrash
from harness.plugins import FLAVOURS
from harness.project.profile import Profile
from tests.fakes.debug import FakeDebugStream
from tests.fakes.guest import FakeGuest

PROFILE = """
name = "toy"
guest = "toy"
volume = 3
missing_capabilities = ["driver-verifier", "inf-package"]
[hardware]
memory_mib = 256
forwards = { winrm = 5986, ssh = 22 }
[timeouts]
boot = 5
restore = 5
answer = 5
stop = 5
"""


def registered() -> AbstractContextManager[None]:
    """The flavour `toy` is there within the block."""
    return FLAVOURS.added("toy", ToyFlavour())


class ToyProfile(Profile):
    """A profile of its own type."""

    volume: Annotated[int, Field(ge=0, le=11)]


@dataclass(frozen=True)
class ToySpec:
    """Implements `Spec`."""

    image: Path
    profile: ToyProfile
    accelerator: Accelerator
    session: str = ""

    @property
    def base(self) -> Path:
        return self.image / "base.qcow2"

    @property
    def copied(self) -> Mapping[str, Path]:
        return {}

    def require_base(self) -> None:
        if not self.base.is_file():
            raise ImageError(f"The image disk {self.base} is gone.")

    def create_disk(self, disk: Path, deadline: Deadline) -> None:
        deadline.check("making a disk")
        disk.write_bytes(self.base.read_bytes())

    def ready_key(self, versions: Mapping[str, str]) -> str:
        return f"{len(versions):012d}"

    def render(self, host: HostSide, *, name: str, key: str) -> str:
        return f"<domain><name>{name}</name><uuid>{key}</uuid><disk>{host.overlay}</disk></domain>"


class ToyStream(FakeDebugStream):
    """A stream whose log has hints of its own, in the toy's words; implements `ReadsLog`."""

    def crash(self) -> KernelCrash | None:
        hint = CrashHint(what="fall of a brick", cause="let a brick fall", limit="a toy has only bricks")
        return dataclasses.replace(self._crash, hint=hint) if self._crash else None

    def entry_status(self, records: Iterable[DebugRecord]) -> EntryStatus | None:
        said = [record for record in records if record.text == "no brick"]
        return EntryStatus(0xC0000001) if said else None

    def is_noise(self, text: str) -> bool:
        return text == "clatter"


class ToyGuest(FakeGuest):
    """Implements `BootableGuest`."""

    def __init__(self) -> None:
        super().__init__()
        self.debug = ToyStream()

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        deadline.check(machine.name)
        return {"waits": "here"}


class ToyLines:
    """Implements `DebugLines`."""

    def parse(self, line: str, time: float) -> DebugRecord:
        return DebugRecord(time, "dbgprint", line)


class ToyFlavour:
    """Implements `Flavour`."""

    profile_type = ToyProfile
    spec_type = ToySpec
    build_options = (BuildOption("bricks", "PATH", "What the toy is built from."),)

    def find(
        self, profile: Profile, accelerator: Accelerator, home: Path, journal: Journal, verified: str
    ) -> Installed:
        for image in self.images(home):
            spec = ToySpec(image.folder, cast("ToyProfile", profile), accelerator, verified)
            return Installed(image, self.reopen(profile, image.folder), spec)
        raise ImageError("There is no toy.", remedy="Run: winvm image build toy --bricks PATH")

    def replay(
        self,
        profile: Profile,
        digest: str,
        accelerator: Accelerator,
        home: Path,
        journal: Journal,
        verified: str,
        *,
        any_image: bool,
    ) -> Installed:
        found = self.find(profile, accelerator, home, journal, verified)
        if found.image.digest != digest and not any_image:
            raise ConfigurationError(f"Toy {digest} is not here.")
        return found

    def reopen(self, profile: Profile, image: Path) -> BootableGuest:
        return cast("BootableGuest", ToyGuest())  # its links are fakes, not WinRM's

    def build(self, request: BuildRequest, journal: Journal) -> DiskImage | DryRun:
        with journal.step(StepKind.IMAGE, "image: bricks"):
            folder = images_folder(request.home) / "toy-1"
            folder.mkdir(parents=True)
            (folder / "base.qcow2").write_bytes(request.options["bricks"].read_bytes())
            (folder / "manifest.json").write_text(json.dumps({"digest": "toy1"}))
        return self._image(folder)

    def images(self, home: Path) -> list[DiskImage]:
        return [self._image(folder) for folder in sorted(images_folder(home).glob("toy-*"), reverse=True)]

    def stored(self, home: Path) -> Iterator[StoredImage]:
        for number, image in enumerate(self.images(home)):
            yield StoredImage(image.folder, "toy", present=number == 0)

    def unfinished(self, images: Path) -> Iterator[tuple[Path, bool]]:
        return ((folder, False) for folder in images.glob(".toy-*"))

    def debugged_here(self, profile: Profile) -> bool:
        return cast("ToyProfile", profile).volume > 10

    def kernel_line(self, profile: Profile, machine: Path, image: Path) -> KernelLine:
        return KernelLine(port=cast("ToyProfile", profile).volume)

    def debug_output(self, profile: Profile, channels: Channels) -> Path:
        return channels.console

    def debug_lines(self) -> DebugLines:
        return ToyLines()

    def _image(self, folder: Path) -> DiskImage:
        disk = folder / "base.qcow2"
        return DiskImage(folder, "toy1", disk.stat().st_size, "", {"bricks": "12"})
