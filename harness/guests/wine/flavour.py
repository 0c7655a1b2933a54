"""The Wine flavour: its image is built from packages, it prints to a file, and it has no Windows kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigurationError
from harness.guests.flavour import BuildOption, BuildRequest, Installed, StoredImage
from harness.project.profile import Profile

if TYPE_CHECKING:
    from harness.debuggers.kd.line import KernelLine
    from harness.guests.wine.debug_lines import WineLines
    from harness.guests.wine.guest import WineGuest
    from harness.guests.wine.spec import MachineSpec
    from harness.images.base import BaseImage
    from harness.journal import Journal
    from harness.machine.accelerator import Accelerator
    from harness.machine.protocol import Channels


class WineFlavour:
    """Implements `Flavour`. One image serves all profiles: no profile changes its contents."""

    profile_type: type[Profile] = Profile
    build_options: Sequence[BuildOption] = ()

    @property
    def spec_type(self) -> type[MachineSpec]:
        """See `Flavour`."""
        from harness.guests.wine.spec import MachineSpec

        return MachineSpec

    def find(
        self,
        profile: Profile,
        accelerator: Accelerator,
        home: Path,
        journal: Journal,
        verified: str,  # noqa: ARG002 - Wine has no Driver Verifier
    ) -> Installed:
        """See `Flavour`. The image is built if there is none."""
        from harness.images import wine

        return self.installed(wine.ensure(home, journal), profile, accelerator)

    def replay(
        self,
        profile: Profile,
        digest: str,
        accelerator: Accelerator,
        home: Path,
        journal: Journal,
        verified: str,  # noqa: ARG002 - Wine has no Driver Verifier
        *,
        any_image: bool,
    ) -> Installed:
        """See `Flavour`."""
        from harness.images.replayed import replay_image

        image = replay_image(digest, home, journal, any_image=any_image)
        return self.installed(image, profile, accelerator)

    def reopen(self, profile: Profile, image: Path) -> WineGuest:
        """See `Flavour`."""
        from harness.guests.wine.guest import WineGuest
        from harness.images import base

        return WineGuest(base.load(image), profile.over_line)

    def image_key(self, profile: Profile) -> str:  # noqa: ARG002 - one image serves all profiles
        """See `BuildsUnasked`: the name of the image's folder."""
        from harness.images import wine
        from harness.images.inputs import gather

        return wine.key(gather())

    def build(self, request: BuildRequest, journal: Journal) -> BaseImage:
        """See `Flavour`."""
        from harness.images import wine

        if request.given:
            given = f"--{min(request.given)}"
            raise ConfigurationError(
                f"The image {request.profile.name} has no use for {given}: it is made from packages, "
                "takes no ISO and has no dry run.",
                remedy=f"Leave {given} out, or name a profile whose image takes it: windows-11 takes an ISO.",
            )
        return wine.ensure(request.home, journal, mirror=request.mirror)

    def images(self, home: Path) -> list[BaseImage]:
        """See `Flavour`."""
        from harness.images.base import list_images

        return list_images(home)

    def stored(self, home: Path) -> Iterator[StoredImage]:
        """See `Flavour`."""
        from harness.images import wine
        from harness.images.base import images_folder

        current = wine.find(home)
        for manifest in images_folder(home).glob("wine-*/manifest.json"):
            folder = manifest.parent
            yield StoredImage(folder, "wine", current is not None and current.folder.name == folder.name)

    def unfinished(self, images: Path) -> Iterator[tuple[Path, bool]]:  # noqa: ARG002
        """See `Flavour`. The next build removes what is left of one."""
        return iter(())

    def debugged_here(self, profile: Profile) -> bool:  # noqa: ARG002
        """See `Flavour`."""
        return False

    def kernel_line(self, profile: Profile, machine: Path, image: Path) -> KernelLine:  # noqa: ARG002
        """See `Flavour`."""
        raise ConfigurationError(
            f"The guest that is up, {profile.name}, has no Windows kernel, and so no kernel debugger: its "
            "driver runs in Wine's process winedevice.exe.",
            remedy="Debug that process with `winvm exec -- winedbg`, or read its dump with `winvm dump`.",
        )

    def debug_output(self, profile: Profile, channels: Channels) -> Path:  # noqa: ARG002
        """See `Flavour`."""
        return channels.dbgprint

    def debug_lines(self) -> WineLines:
        """See `Flavour`."""
        from harness.guests.wine.debug_lines import WineLines

        return WineLines("WINVM-MARK ")

    def installed(self, image: BaseImage, profile: Profile, accelerator: Accelerator) -> Installed:
        """The guest that runs from this image."""
        from harness.guests.wine.guest import WineGuest

        spec = self.spec_type.checked(image.folder, profile, accelerator)
        return Installed(image, WineGuest(image, profile.over_line), spec, image.exports)


FLAVOUR = WineFlavour()
