"""What a profile (`vm/profiles/*.toml`) says about a guest: its hardware, capabilities and timeouts.

A flavour of guest may add entries in a subclass: see `guests/windows/spec/profile.py`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from harness.errors import ConfigurationError

INF_PACKAGE = "inf-package"
VERIFIER = "driver-verifier"
IRQL = "irql"

CAPABILITIES: frozenset[str] = frozenset(
    {
        "caller-address-space",  # the driver sees the caller's own pages: METHOD_NEITHER, bad pointers
        VERIFIER,
        "exclusive-device",  # IoCreateDevice(Exclusive=TRUE) is enforced by the kernel
        INF_PACKAGE,  # a driver installs by its INF (pnputil)
        "irp-cleanup",  # IRP_MJ_CLEANUP is sent, and the pid in IRP_MJ_CLOSE means something
        IRQL,
        "kernel-dump",
        "kernel-seh",  # a __try in a driver catches an access violation
        "pool-tags",
        "process-notify",
        "restricted-user",
        "unsigned-driver",  # a driver without a signature loads
        "user-mdl-mapping",  # MmMapLockedPagesSpecifyCache(UserMode)
        "wow64",
    }
)
"""Everything that guests may differ in. Each image is probed for all of them; a profile only takes away."""

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=7200)]


class Table(BaseModel):
    """A table of a profile: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hardware(Table):
    """Virtual hardware. Part of the ready state's key: after a change the guest boots and is saved again."""

    memory_mib: Annotated[int, Field(ge=256, le=65536)]
    vcpus: Annotated[int, Field(ge=1, le=16)] = 1
    machine: Literal["pc", "q35"] = "pc"
    forwards: dict[str, Port]
    """Name of a forward (`winrm`, `ssh`) -> port in the guest; the host port is chosen per run."""


class Timeouts(Table):
    """Seconds, for TCG on two cores; a deadline that passes is reported with the name of its entry."""

    boot: Seconds
    """Power on until the guest answers."""
    restore: Seconds
    """Start from the ready state, or a revert, until libvirt reports that the guest runs."""
    answer: Seconds
    """After a restore until the guest answers."""
    stop: Seconds


class Hang(Table):
    """Seconds for each step tried on a hung guest before it is killed; 0 where the step is of no use."""

    break_in: Annotated[float, Field(ge=0, le=600)] = 20
    """The kernel's debugger halts it and reads every processor's registers."""
    nmi: Annotated[float, Field(ge=0, le=600)] = 60
    """A non-maskable interrupt, which Windows answers with bugcheck 0x80 and a dump."""
    screenshot: Annotated[float, Field(gt=0, le=600)] = 10


class Difference(Table):
    """A scenario that ends badly on this guest, for a reason that is its kernel's and not the driver's."""

    scenario: Annotated[str, Field(min_length=1, max_length=200)]
    """Its name; without `[...]`, of all its parameters. Each driver build is meant."""
    reason: Annotated[str, Field(min_length=1, max_length=300)]
    """What this guest does in its own way, as reports show it."""
    evidence: Annotated[str, Field(min_length=1, max_length=600)]
    """What showed it: version of the kernel, what was seen, where its source says so."""
    ends: Literal["failed", "crashed", "hung"] = "failed"
    """Another bad end is still a failure: a known failure excuses no crash."""
    code: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] | None = None
    """Of the crash: bugcheck, or exception on the embedded guest."""

    @model_validator(mode="after")
    def _crash_has_a_code(self) -> Self:
        if (self.ends == "crashed") != (self.code is not None):
            raise ValueError('code belongs to ends = "crashed", which needs it')
        return self

    def names(self, result: str) -> bool:
        """Whether a result of this name is one of the scenario."""
        return result == self.scenario or result.startswith(
            (f"{self.scenario}@",) if "[" in self.scenario else (f"{self.scenario}@", f"{self.scenario}[")
        )


class Profile(Table):
    """One validated profile file."""

    guests: ClassVar[str] = "winvm"
    """How messages name the guests that this class is for."""

    name: str
    guest: str
    """Which flavour of guest, see `harness.guests.registry`."""
    hardware: Hardware
    timeouts: Timeouts
    hang: Hang = Hang()
    transport: Literal["network", "serial", "console"] = "network"
    """How commands and files reach the guest: WinRM and SFTP, or for both a 16550 or a virtio console."""
    missing_capabilities: frozenset[str] = frozenset()
    """What its guests lack, whatever their image shows; see `harness.project.measured`."""
    differs: tuple[Difference, ...] = ()
    """Known differences of its kernel: the scenarios run, and what is foretold is shown as "differs here"."""
    untried_capabilities: Annotated[frozenset[str], Field(exclude=True)] = frozenset()
    """What nobody has tried on the image of this run; never in a file."""

    @field_validator("missing_capabilities")
    @classmethod
    def _known(cls, names: frozenset[str]) -> frozenset[str]:
        unknown = sorted(names - CAPABILITIES)
        if unknown:
            raise ValueError(f"unknown capabilities {unknown}; known are {sorted(CAPABILITIES)}")
        return names

    @property
    def capabilities(self) -> frozenset[str]:
        """The guest's capabilities: the agent receives them, and scenarios that need others are skipped."""
        return CAPABILITIES - self.missing_capabilities - self.untried_capabilities

    @property
    def over_line(self) -> bool:
        """Whether commands and files use a line in place of the guest's network."""
        return self.transport != "network"

    @property
    def verified(self) -> bool:
        """Whether Driver Verifier watches the driver in every run."""
        return False

    def without(self, capability: str) -> Self:
        """This profile for a run in which the guest lacks one more capability."""
        return self.model_copy(update={"missing_capabilities": self.missing_capabilities | {capability}})

    def having(self, capabilities: frozenset[str]) -> Self:
        """This profile for a run that gives the guest more capabilities."""
        return self.model_copy(update={"missing_capabilities": self.missing_capabilities - capabilities})

    @classmethod
    def checked(cls, profile: Profile) -> Self:
        """The same profile, known to be of this class.

        Raises:
            ConfigurationError: it is one of another flavour of guest.
        """
        if not isinstance(profile, cls):
            raise ConfigurationError(
                f"Profile {profile.name} is not one of a {cls.guests} guest.",
                remedy=f'Name one whose file says guest = "{cls.guests.lower()}".',
            )
        return profile

    def shared_image(self, base: Self) -> Self | None:  # noqa: ARG002 - see subclasses
        """The profile whose image serves this one, which extends `base`; None if it needs its own."""
        return None
