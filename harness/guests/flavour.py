"""A flavour of guest: everything that differs between one kind of guest and another, behind one protocol.

A flavour is a package beside this file with a module `flavour`, and a line in `harness.plugins`; other
packages bring theirs by an entry point of the group `winvm.flavours`. Loading a profile imports its flavour's
object, so that object imports inside its methods what only a run needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from harness.debuggers.kd.line import KernelLine
    from harness.guests.link import BootableGuest
    from harness.images.base import DiskImage
    from harness.journal import Journal
    from harness.machine.accelerator import Accelerator
    from harness.machine.protocol import Channels
    from harness.machine.spec import Spec
    from harness.project.config import Config
    from harness.project.profile import Profile


@dataclass(frozen=True)
class Installed:
    """An existing image, and what follows from it.

    exports: JSON with the kernel exports of a guest that lacks some of Windows': see `wine_exports`.
    """

    image: DiskImage
    guest: BootableGuest
    spec: Spec
    exports: Path | None = None


@dataclass(frozen=True)
class BuildOption:
    """An option of `winvm image build`, which names a path unless it is of another kind.

    Attributes:
        name: as it is written, without `--`: `virtio-iso`.
        folder: whether the path names a folder; otherwise it names a file.
        kind: `word` takes any text, `flag` nothing.
    """

    name: str
    metavar: str
    help: str
    folder: bool = False
    kind: Literal["path", "word", "flag"] = "path"


ISO = BuildOption("iso", "PATH", "The installation ISO of Windows, or the live CD of ReactOS.")
"""An option that two of winvm's own flavours share."""


@dataclass(frozen=True)
class BuildRequest:
    """The arguments of `winvm image build`.

    Attributes:
        options: option that was given -> path; may hold options of other flavours.
        words: likewise for options that name no path; a flag's text is empty.
        project: returns the project in whose folder the command runs; None if there is none.
        mirror: of Debian, for an image made of its packages; None where `--mirror` was not given.
        again: provision an installation again whose end of Setup is kept, without its ISO.
        shown: called with the folder of a machine that a build has started, so that a person can look at it.
    """

    profile: Profile
    options: Mapping[str, Path]
    home: Path
    project: Callable[[], Config | None] = lambda: None
    words: Mapping[str, str] = field(default_factory=dict)
    mirror: str | None = None
    again: bool = False
    shown: Callable[[Path], None] = lambda folder: None  # noqa: ARG005

    @property
    def given(self) -> set[str]:
        """Names of all options that were given."""
        return {*self.options, *self.words}


@dataclass(frozen=True)
class DryRun:
    """The files that a dry run of a build has written."""

    folder: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class StoredImage:
    """An image as `winvm prune` sees it.

    Attributes:
        made_of: equal for images that supersede each other; for most flavours the profile's name.
        present: whether the next run uses this image; `winvm prune` then keeps it whatever its age.
    """

    folder: Path
    made_of: str
    present: bool


class DebugLine(Protocol):
    """One line of a guest's debug output; `source` is `dbgprint` for lines that the driver printed."""

    @property
    def source(self) -> str:
        """Which component printed it."""

    @property
    def text(self) -> str:
        """What was printed, without prefixes."""


class DebugLines(Protocol):
    """Reads a guest's debug output a line at a time."""

    def parse(self, line: str, time: float) -> DebugLine:
        """One line without its newline, which arrived at host UNIX time `time`."""


class Flavour(Protocol):
    """One flavour of guest. `profile` is always one of its own `profile_type`."""

    @property
    def profile_type(self) -> type[Profile]:
        """The class of its profiles, which defines their keys."""

    @property
    def spec_type(self) -> type[Spec]:
        """The frozen dataclass of its machines' hardware: `machine.json` is read as one."""

    @property
    def build_options(self) -> Sequence[BuildOption]:
        """Options of `winvm image build`; an option that two flavours share must be equal in both."""

    def find(
        self, profile: Profile, accelerator: Accelerator, home: Path, journal: Journal, verified: str
    ) -> Installed:
        """The image that a run of this profile uses; built first, if that needs nothing from the user.

        Args:
            verified: file name of the driver that Driver Verifier is to watch; empty for none.

        Raises:
            ImageError: it cannot be built, must be built by the user first, or was built for other settings.
        """

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
        """As `find`, but for the image of this digest; with `any_image`, for any if that one is missing.

        Raises:
            ConfigurationError: the image is missing, and `any_image` is not set.
            ImageError: see `find`.
        """

    def reopen(self, profile: Profile, image: Path) -> BootableGuest:
        """The guest that another process started, from the folder of its image.

        Raises:
            ImageError: the image is gone or damaged.
        """

    def build(self, request: BuildRequest, journal: Journal) -> DiskImage | DryRun:
        """Builds an image, unless one with the same inputs is there.

        Raises:
            ConfigurationError: an option is missing, or of another flavour, or cannot be used.
            ImageError, HostError, DeadlineError: the build fails.
        """

    def images(self, home: Path) -> Sequence[DiskImage]:
        """All whole images, newest first."""

    def stored(self, home: Path) -> Iterable[StoredImage]:
        """Every image, also those that nobody builds any more, for `winvm prune`."""

    def unfinished(self, images: Path) -> Iterator[tuple[Path, bool]]:
        """Folders of unfinished builds, each with whether a build is using it now."""

    def debugged_here(self, profile: Profile) -> bool:
        """Whether a debugger on this host must reach the guest: no remote libvirt host can run it then."""

    def kernel_line(self, profile: Profile, machine: Path, image: Path) -> KernelLine:
        """The connection by which a debugger reaches the kernel of a guest that is up.

        Args:
            machine, image: folders of its machine and its image.

        Raises:
            ConfigurationError: it has no Windows kernel, or its debugger is off.
        """

    def debug_output(self, profile: Profile, channels: Channels) -> Path:
        """The file that holds the debug output of a guest that is up.

        Raises:
            ConfigurationError: there is none.
        """

    def debug_lines(self) -> DebugLines:
        """The parser for the lines of that file."""


@runtime_checkable
class BuildsUnasked(Protocol):
    """A flavour, besides, whose image needs nothing from the user, so that its key is known before."""

    def image_key(self, profile: Profile) -> str:
        """Names what the image is made from: letters, digits and `-`; equal inputs have equal keys.

        Raises:
            HostError, ImageError: the installation is incomplete.
        """
