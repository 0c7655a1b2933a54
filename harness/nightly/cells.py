"""The cells of a night: guest, driver build, with Driver Verifier or without."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from harness.errors import ConfigurationError
from harness.nightly.capacity import Need
from harness.project.config import Config
from harness.project.profile import VERIFIER, Profile
from harness.project.profiles import find_profile
from harness.report.history import cell
from harness.run.skip import missing

QEMU_MIB = 256
"""MiB that QEMU itself uses beside the guest's memory."""


@dataclass(frozen=True)
class Cell:
    """One run of a night. `missing` is the capability without which the guest cannot run it."""

    profile: str
    build: str
    verifier: bool
    need: Need
    missing: str = ""

    @property
    def name(self) -> str:
        """The cell's name in history and messages: `wine/release`, `windows-11/release/driver-verifier`."""
        return cell(self.profile, (self.build,), (VERIFIER,) if self.verifier else ())


def matrix(config: Config) -> tuple[Cell, ...]:
    """Every combination that `[nightly]` asks for; keys it leaves out are taken from the rest of winvm.toml.

    Raises:
        ConfigurationError: `[nightly]` names an unknown profile or build.
    """
    nightly = config.nightly
    builds = nightly.builds or config.driver.builds
    if unknown := sorted(set(builds) - set(config.driver.builds)):
        raise ConfigurationError(
            f"nightly.builds names {unknown[0]!r}, which is not in driver.builds.",
            remedy=f"Choose one of the builds in winvm.toml: {', '.join(config.driver.builds)}.",
        )
    profiles = [find_profile(name, config.root) for name in nightly.profiles or (config.guest.profile,)]
    return tuple(
        Cell(profile.name, build, verifier, _need(profile), _missing(profile, verifier))
        for profile, build, verifier in product(profiles, builds, nightly.verifier)
    )


def _need(profile: Profile) -> Need:
    return Need(profile.hardware.memory_mib + QEMU_MIB, profile.hardware.vcpus)


def _missing(profile: Profile, verifier: bool) -> str:
    return ", ".join(missing(profile, (VERIFIER,) if verifier else ()))
