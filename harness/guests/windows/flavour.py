"""The Windows flavour: its images are installed from the user's ISO, and it prints to a kernel debugger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ConfigurationError, ImageError
from harness.guests import flavour
from harness.guests.flavour import BuildOption, BuildRequest, DebugLines, DryRun, Installed, StoredImage
from harness.guests.windows.spec.profile import WindowsProfile
from harness.project.profile import Profile

if TYPE_CHECKING:
    from harness.debuggers.kd.line import KernelLine
    from harness.guests.windows.guest import WindowsGuest
    from harness.guests.windows.image.preparation import Request
    from harness.guests.windows.image.provisioning import Driver
    from harness.guests.windows.image.sealed import WindowsImage
    from harness.guests.windows.spec.domain import WindowsSpec
    from harness.journal import Journal
    from harness.machine.accelerator import Accelerator
    from harness.machine.protocol import Channels
    from harness.project.config import Config

ISO, VIRTIO_ISO, OPENSSH, DRY_RUN = flavour.ISO.name, "virtio-iso", "openssh", "dry-run"
RESUME, KEEP, EDITION = "resume", "keep", "edition"
WARNED_DAYS = 2
"""How many days before its evaluation ends a run warns: from day 8 of the ten without activation."""


class WindowsFlavour:
    """Implements `Flavour`."""

    profile_type = WindowsProfile
    build_options = (
        flavour.ISO,
        BuildOption(VIRTIO_ISO, "PATH", "The virtio-win ISO, for virtio hardware."),
        BuildOption(
            OPENSSH,
            "PATH",
            "Win32-OpenSSH's OpenSSH-Win64.zip; by default Windows downloads its own where it brings none.",
        ),
        BuildOption(
            DRY_RUN,
            "FOLDER",
            "Write all that would be used to a new folder, and install nothing.",
            folder=True,
        ),
        BuildOption(
            EDITION,
            "NAME",
            "The edition to install: its EDITIONID, name or index; by default the profile's favourite.",
            kind="word",
        ),
        BuildOption(
            RESUME,
            "",
            "Go on from the last stage that a failed build completed, if there is one.",
            kind="flag",
        ),
        BuildOption(
            KEEP, "", "Keep the stages of a build that succeeds, and the disk of one that fails.", kind="flag"
        ),
    )

    @property
    def spec_type(self) -> type[WindowsSpec]:
        """See `Flavour`."""
        from harness.guests.windows.spec.domain import WindowsSpec

        return WindowsSpec

    def find(
        self, profile: Profile, accelerator: Accelerator, home: Path, journal: Journal, verified: str
    ) -> Installed:
        """See `Flavour`. A profile that shares the image of another uses that image."""
        from harness.guests.windows.image import sealed
        from harness.images import base

        profile = WindowsProfile.checked(profile)
        wanted = profile.image_profile
        image = sealed.find(home, wanted.name)
        if image is None:
            raise ImageError(
                f"There is no image of {wanted.name} in {base.images_folder(home)}.",
                remedy=sealed.build_again(wanted.name),
            )
        if not image.fits(wanted):
            raise ImageError(
                f"{image.folder.name} was built before vm/profiles/{wanted.name}.toml was changed.",
                remedy=sealed.build_again(wanted.name),
            )
        return self._installed(image, profile, accelerator, journal, verified)

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
        from harness.guests.windows.image import sealed

        for image in sealed.list_windows_images(home):
            if image.digest == digest:
                return self._installed(image, WindowsProfile.checked(profile), accelerator, journal, verified)
        if not any_image:
            raise ConfigurationError(
                f"The crash happened in guest image {digest[:12]}, which is not here.",
                remedy="Build it from the same ISO, or replay it in another image: --any-image",
            )
        return self.find(profile, accelerator, home, journal, verified)

    def reopen(self, profile: Profile, image: Path) -> WindowsGuest:
        """See `Flavour`."""
        from harness.guests.windows.guest import WindowsGuest
        from harness.guests.windows.image import sealed

        return WindowsGuest(sealed.load(image), WindowsProfile.checked(profile))

    def build(self, request: BuildRequest, journal: Journal) -> WindowsImage | DryRun:
        """See `Flavour`. For a profile that shares the image of another, that image is built."""
        wanted = _request(request)
        if target := request.options.get(DRY_RUN):
            from harness.guests.windows.image.dryrun import dry_run

            return DryRun(target, tuple(dry_run(wanted, request.home, target, journal)))
        from harness.guests.windows.image.build import build

        return build(wanted, request.home, journal)

    def images(self, home: Path) -> list[WindowsImage]:
        """See `Flavour`."""
        from harness.guests.windows.image.sealed import list_windows_images

        return list_windows_images(home)

    def stored(self, home: Path) -> Iterator[StoredImage]:
        """See `Flavour`. Each profile's newest is the present one; stages go when they are old."""
        from harness.guests.windows.image.stages import kept_stages

        profiles = set()
        for image in self.images(home):
            yield StoredImage(image.folder, image.profile, image.profile not in profiles)
            profiles.add(image.profile)
        for folder, building in kept_stages(home):
            yield StoredImage(folder, folder.name, building)

    def unfinished(self, images: Path) -> Iterator[tuple[Path, bool]]:
        """See `Flavour`."""
        from harness.guests.windows.image.sealed import unfinished

        return unfinished(images)

    def debugged_here(self, profile: Profile) -> bool:
        """See `Flavour`."""
        return WindowsProfile.checked(profile).hardware.kd != "none"

    def kernel_line(self, profile: Profile, machine: Path, image: Path) -> KernelLine:
        """See `Flavour`."""
        from harness.guests.windows.debugger import debugger_of
        from harness.guests.windows.image.credentials import WindowsSecrets

        debugger = debugger_of(WindowsProfile.checked(profile))
        line = debugger.line(machine, WindowsSecrets(image / "secrets"))
        if line is None:
            raise ConfigurationError(
                f"The kernel's debugger is off in profile {profile.name}.",
                remedy='Set kd = "serial" or "kdnet" there, and build the image again.',
            )
        return line

    def debug_output(self, profile: Profile, channels: Channels) -> Path:  # noqa: ARG002
        """See `Flavour`."""
        raise ConfigurationError(
            f"The debug output of {profile.name} goes to its kernel debugger; without one it is lost.",
            remedy="Listen with `winvm debug`.",
        )

    def debug_lines(self) -> DebugLines:
        """See `Flavour`. Never called for a running guest: there is no file to read."""
        raise ConfigurationError("A Windows guest prints to no file.", remedy="Listen with `winvm debug`.")

    def _installed(
        self,
        image: WindowsImage,
        profile: WindowsProfile,
        accelerator: Accelerator,
        journal: Journal,
        verified: str,
    ) -> Installed:
        from harness.guests.windows.guest import WindowsGuest, session_version

        _require_dump(image, profile)
        if profile.hardware.secure_boot:
            journal.warn(
                f"{profile.name} has Secure Boot: Windows loads drivers that Microsoft signed (attestation or"
                " WHQL), and refuses those that are signed with a test certificate, as winvm signs them"
            )
        _warn_of_end(image, journal)
        watched = " ".join([verified, *(profile.verifier if verified else ())])
        spec = self.spec_type.checked(image.folder, profile, accelerator, session_version(watched))
        return Installed(image, WindowsGuest(image, profile, verified), spec)


def _request(asked: BuildRequest) -> Request:
    from harness.guests.windows.image.preparation import Request

    profile, known = asked.profile, [option.name for option in WindowsFlavour.build_options]
    if other := sorted(asked.given - set(known)):
        raise ConfigurationError(
            f"The image {profile.name} has no use for --{other[0]}.",
            remedy=f"It takes --{', --'.join(known)}.",
        )
    if ISO not in asked.options and not asked.again:
        raise ConfigurationError(
            f"{profile.name} is installed from an ISO, and none is named.",
            remedy=f"Run: winvm image build {profile.name} --iso PATH",
        )
    options = asked.options
    wanted = WindowsProfile.checked(profile).image_profile
    driver = _driver(asked.project())
    return Request(
        wanted,
        options.get(ISO),
        options.get(VIRTIO_ISO),
        options.get(OPENSSH),
        driver,
        edition=asked.words.get(EDITION, ""),
        resume=RESUME in asked.words,
        keep=KEEP in asked.words or asked.again,
        shown=asked.shown,
    )


def _driver(config: Config | None) -> Driver | None:
    """A project's driver; its certificate is made if need be."""
    if config is None:
        return None
    from harness.guests.windows.image.provisioning import Driver
    from harness.toolchain.sign import TestCertificate

    certificate = TestCertificate.ensure(config.build_folder / "certificate")
    return Driver(config.driver.name, certificate.certificate.read_bytes())


def _require_dump(image: WindowsImage, profile: WindowsProfile) -> None:
    """A machine that stops at a bugcheck leaves its dump to the host, which cannot always make one."""
    import shutil

    from harness.crash.dump_rungs import CONVERTER
    from harness.guests.windows.image.drivers import DUMP

    if profile.hardware.on_bugcheck == "stop" and DUMP not in image.drivers and not shutil.which(CONVERTER):
        raise ConfigurationError(
            f'{profile.name} has on_bugcheck = "stop", and no dump could be made of its guest: its image has'
            f" no {DUMP} driver, and this host has no {CONVERTER}.",
            remedy='Set on_bugcheck = "dump", build the image with --virtio-iso, or install the'
            f" {CONVERTER} that belongs to QEMU.",
        )


def _warn_of_end(image: WindowsImage, journal: Journal) -> None:
    """An expired evaluation shuts the guest down without a crash; warn about it here, and two days before."""
    from datetime import UTC, datetime, timedelta

    today = datetime.now(UTC).date()
    if image.runs_out and today <= image.runs_out <= today + timedelta(days=WARNED_DAYS):
        journal.warn(
            f"the evaluation in {image.folder.name} ends on {image.runs_out}: then its Windows shuts itself"
            " down about every hour. Build the image again; an evaluation that was not activated, because the"
            " network was closed or Microsoft not reached, runs for 10 days"
        )
    if image.runs_out and image.runs_out < today:
        journal.warn(
            f"the evaluation in {image.folder.name} ended on {image.runs_out}: its Windows shuts itself down"
            f" about every hour. Remove {image.folder}, and build it again"
        )


FLAVOUR = WindowsFlavour()
