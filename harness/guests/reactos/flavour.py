"""The ReactOS flavour: its images are made from the user's live CD, and it prints to a kernel debugger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigurationError, ImageError
from harness.guests import flavour
from harness.guests.flavour import BuildOption, BuildRequest, DebugLines, Installed, StoredImage
from harness.guests.reactos.spec.profile import ReactosProfile
from harness.project.profile import Profile

if TYPE_CHECKING:
    from harness.debuggers.kd.line import KernelLine
    from harness.guests.reactos.guest import ReactosGuest
    from harness.guests.reactos.image.sealed import ReactosImage
    from harness.guests.reactos.spec.domain import ReactosSpec
    from harness.journal import Journal
    from harness.machine.accelerator import Accelerator
    from harness.machine.protocol import Channels

ISO = flavour.ISO.name
UNPROVEN = (
    "the ReactOS guest is unproven: it boots, is saved and restored, and its agent answers, but no driver"
    " has loaded in it yet"
)
"""Said at each run. Removed with the first run of the suite."""


class ReactosFlavour:
    """Implements `Flavour`."""

    profile_type: type[Profile] = ReactosProfile
    build_options: Sequence[BuildOption] = (flavour.ISO,)

    @property
    def spec_type(self) -> type[ReactosSpec]:
        """See `Flavour`."""
        from harness.guests.reactos.spec.domain import ReactosSpec

        return ReactosSpec

    def find(
        self,
        profile: Profile,
        accelerator: Accelerator,
        home: Path,
        journal: Journal,
        verified: str,  # noqa: ARG002 - there is no Driver Verifier
    ) -> Installed:
        """See `Flavour`."""
        from harness.guests.reactos.spec.profile import build_again
        from harness.images.base import images_folder

        for image in self.images(home):
            if image.profile == profile.name:
                journal.warn(UNPROVEN)
                return self._installed(image, profile, accelerator)
        raise ImageError(
            f"There is no image of {profile.name} in {images_folder(home)}.", remedy=build_again(profile.name)
        )

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
        """See `Flavour`."""
        for image in self.images(home):
            if image.digest == digest:
                return self._installed(image, profile, accelerator)
        if not any_image:
            raise ConfigurationError(
                f"The crash happened in guest image {digest[:12]}, which is not here.",
                remedy="Build it from the same live CD, or replay it in another image: --any-image",
            )
        return self.find(profile, accelerator, home, journal, verified)

    def reopen(self, profile: Profile, image: Path) -> ReactosGuest:
        """See `Flavour`."""
        from harness.guests.reactos.guest import ReactosGuest
        from harness.guests.reactos.image import sealed

        return ReactosGuest(sealed.load(image), ReactosProfile.checked(profile))

    def build(self, request: BuildRequest, journal: Journal) -> ReactosImage:
        """See `Flavour`."""
        from harness.guests.reactos.image.build import build

        profile = ReactosProfile.checked(request.profile)
        if other := sorted(request.given - {ISO}):
            raise ConfigurationError(
                f"The image {profile.name} has no use for --{other[0]}.", remedy=f"It takes --{ISO}."
            )
        if ISO not in request.options:
            raise ConfigurationError(
                f"{profile.name} is made from a live CD of ReactOS, and none is named.",
                remedy=f"Run: winvm image build {profile.name} --{ISO} PATH",
            )
        return build(profile, request.options[ISO], request.home, journal)

    def images(self, home: Path) -> list[ReactosImage]:
        """See `Flavour`."""
        from harness.guests.reactos.image.sealed import list_reactos_images

        return list_reactos_images(home)

    def stored(self, home: Path) -> Iterator[StoredImage]:
        """See `Flavour`. Each profile's newest is the present one."""
        profiles = set()
        for image in self.images(home):
            yield StoredImage(image.folder, image.profile, image.profile not in profiles)
            profiles.add(image.profile)

    def unfinished(self, images: Path) -> Iterator[tuple[Path, bool]]:
        """See `Flavour`."""
        from harness.guests.reactos.image.build import lock_file
        from harness.guests.reactos.image.sealed import UNFINISHED
        from harness.host.locks import is_held

        for folder in images.glob(f"{UNFINISHED}*"):
            yield folder, is_held(lock_file(images))

    def debugged_here(self, profile: Profile) -> bool:  # noqa: ARG002
        """See `Flavour`."""
        return True

    def kernel_line(self, profile: Profile, machine: Path, image: Path) -> KernelLine:  # noqa: ARG002
        """See `Flavour`."""
        from harness.debuggers.kd.line import KernelLine
        from harness.guests.reactos.spec.domain import KD_SOCKET

        return KernelLine(serial=machine / KD_SOCKET)

    def debug_output(self, profile: Profile, channels: Channels) -> Path:  # noqa: ARG002
        """See `Flavour`."""
        raise ConfigurationError(
            f"The debug output of {profile.name} goes to its kernel debugger.",
            remedy="Listen with `winvm debug`.",
        )

    def debug_lines(self) -> DebugLines:
        """See `Flavour`. Never called for a running guest: there is no file to read."""
        raise ConfigurationError("A ReactOS guest prints to no file.", remedy="Listen with `winvm debug`.")

    def _installed(self, image: ReactosImage, profile: Profile, accelerator: Accelerator) -> Installed:
        from harness.guests.reactos.guest import ReactosGuest

        own = ReactosProfile.checked(profile)
        spec = self.spec_type.checked(image.folder, own, accelerator, image.digest[:12])
        return Installed(image, ReactosGuest(image, own), spec)


FLAVOUR = ReactosFlavour()
