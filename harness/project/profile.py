"""What a profile (`vm/profiles/*.toml`) says about a guest: its hardware, capabilities and timeouts.

A Windows profile also says which media its image is installed from, and how the guest is set up.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from harness.errors import ConfigurationError
from harness.host.resources import vm_folder

KDNET_HOST, KDNET_PORT, KDNET_BUSPARAMS = "10.0.2.2", 50000, "0.4.0"
"""What a KDNET target is told with `bcdedit /dbgsettings net` and `/set {dbgsettings} busparams`: the host as
the user network shows it, the UDP port, and the PCI address (bus.device.function, decimal) of its NIC."""
HYPERV_VENDOR, OTHER_VENDOR = "Microsoft Hv", "KVMKVMKVM"
"""Names that Hyper-V's enlightenments may go by: QEMU's own, and that of KVM itself."""
KD_COM, JOURNAL_COM = 1, 2
"""Numbers of the COM ports that the kernel's debugger (where it is serial) and the agent's journal use."""

INF_PACKAGE = "inf-package"
VERIFIER = "driver-verifier"

CAPABILITIES: frozenset[str] = frozenset(
    {
        "caller-address-space",  # the driver sees the caller's own pages: METHOD_NEITHER, bad pointers
        VERIFIER,
        "exclusive-device",  # IoCreateDevice(Exclusive=TRUE) is enforced by the kernel
        INF_PACKAGE,  # a driver installs by its INF (pnputil)
        "irp-cleanup",  # IRP_MJ_CLEANUP is sent, and the pid in IRP_MJ_CLOSE means something
        "irql",
        "kernel-dump",
        "pool-tags",
        "process-notify",
        "restricted-user",
        "user-mdl-mapping",  # MmMapLockedPagesSpecifyCache(UserMode)
        "wow64",
    }
)
"""Everything a real Windows kernel can show; a profile declares what its guest lacks of it."""

COMPLETE_DUMP_MIB = 257
"""What a complete dump takes beside the memory (Microsoft Learn: Overview of memory dump file options)."""

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=7200)]
Build = Annotated[int, Field(ge=10240, le=99999)]
ProductKey = Annotated[str, StringConstraints(pattern=r"^(|[A-Z0-9]{5}(-[A-Z0-9]{5}){4})$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hardware(_Table):
    """Virtual hardware. Part of the ready state's key: a change boots and saves anew."""

    memory_mib: Annotated[int, Field(ge=256, le=65536)]
    vcpus: Annotated[int, Field(ge=1, le=16)] = 1
    machine: Literal["pc", "q35"] = "pc"
    forwards: dict[str, Port]
    """Name of a forward (`winrm`, `ssh`) -> port in the guest; the host port is chosen per run."""


class Timeouts(_Table):
    """Seconds, for TCG on two cores; a deadline that passes is reported with the name of its entry."""

    boot: Seconds
    """Power on until the guest answers."""
    restore: Seconds
    """Start from the ready state, or a revert, until libvirt says it runs."""
    answer: Seconds
    """After a restore until the guest answers."""
    stop: Seconds


class Hang(_Table):
    """What is tried on a guest that hangs before it is killed: seconds for each, 0 where it is of no use."""

    break_in: Annotated[float, Field(ge=0, le=600)] = 20
    """The kernel's debugger halts it and reads every processor's registers."""
    nmi: Annotated[float, Field(ge=0, le=600)] = 60
    """A non-maskable interrupt, which Windows answers with bugcheck 0x80 and a dump."""
    screenshot: Annotated[float, Field(gt=0, le=600)] = 10


class Profile(_Table):
    """One validated profile file."""

    name: str
    guest: Literal["wine", "windows"]
    hardware: Hardware
    timeouts: Timeouts
    hang: Hang = Hang()
    missing_capabilities: frozenset[str] = frozenset()

    @field_validator("missing_capabilities")
    @classmethod
    def _known(cls, names: frozenset[str]) -> frozenset[str]:
        unknown = sorted(names - CAPABILITIES)
        if unknown:
            raise ValueError(f"unknown capabilities {unknown}; known are {sorted(CAPABILITIES)}")
        return names

    @property
    def capabilities(self) -> frozenset[str]:
        """What the guest can show: the agent is told these, and scenarios that need others are skipped."""
        return CAPABILITIES - self.missing_capabilities

    @property
    def verified(self) -> bool:
        """Whether Driver Verifier watches the driver in every run."""
        return False

    def without(self, capability: str) -> Self:
        """The same guest in a run that does not show a capability."""
        return self.model_copy(update={"missing_capabilities": self.missing_capabilities | {capability}})

    @classmethod
    def named(cls, name: str) -> Self:
        """A shipped profile, `vm/profiles/<name>.toml`.

        Raises:
            ConfigurationError: as for `load`, or there is none of that name.
        """
        profiles = vm_folder() / "profiles"
        if not (profiles / f"{name}.toml").is_file():
            known = ", ".join(sorted(path.stem for path in profiles.glob("*.toml")))
            raise ConfigurationError(
                f"There is no guest profile {name!r}.", remedy=f"Known profiles: {known}."
            )
        return cls.load(profiles / f"{name}.toml")

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads and checks a profile: a `WindowsProfile` if its `guest` is `windows`.

        Raises:
            ConfigurationError: the file is missing, is not TOML, holds a wrong or unknown entry, or is not of
                the class that was asked for.
        """
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
            kind = WindowsProfile if document.get("guest") == "windows" else Profile
            profile = kind.model_validate(document)
        except OSError as error:
            raise ConfigurationError(
                f"Profile {file} cannot be read: {error.strerror}.", remedy="Name one of vm/profiles/*.toml."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"Profile {file} is not TOML: {error}.") from error
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
            )
            raise ConfigurationError(f"Profile {file}: {wrong}.") from error
        if not isinstance(profile, cls):
            raise ConfigurationError(
                f"Profile {profile.name} is not one of a Windows guest.",
                remedy='Name one whose file says guest = "windows".',
            )
        return profile


class WindowsHardware(Hardware):
    """The machine of a Windows guest: q35, standard VGA, Secure Boot off, which test signing needs.

    SATA and e1000e are served by drivers that every Windows brings; dumps through virtio depend on a driver.
    """

    machine: Literal["q35"] = "q35"
    firmware: Literal["uefi", "bios"]
    tpm: bool = False
    """An emulated TPM 2.0; needs swtpm on the host."""
    disk_gib: Annotated[int, Field(ge=20, le=2048)]
    disk_bus: Literal["sata", "virtio"] = "sata"
    control_nic: Literal["e1000e", "virtio"] = "e1000e"
    kd: Literal["kdnet", "serial", "none"]
    """How the kernel's debugger is reached: by an e1000e of its own, by COM1, or not at all."""
    hyperv: bool = True
    """Hyper-V enlightenments, and the panic device, which is one of them."""
    hyperv_vendor: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,12}$")] = ""
    """What the enlightenments are called; empty: see `vendor`."""
    on_bugcheck: Literal["dump", "stop"] = "dump"
    """What the machine does once the panic device has told of a bugcheck: `dump` lets Windows go on, write
    its own dump and restart; `stop` stops the CPUs, so that only the host can dump the memory."""

    @property
    def vendor(self) -> str:
        """What the enlightenments are called: by QEMU's own name, unless a KDNET NIC is to be used.

        Under that name Windows sends the debugger's packets to Hyper-V's synthetic transport and none to the
        NIC; under another, it is not confirmed that it tells the panic device of a bugcheck.
        """
        return self.hyperv_vendor or (OTHER_VENDOR if self.kd == "kdnet" else HYPERV_VENDOR)

    @model_validator(mode="after")
    def _kdnet_is_heard(self) -> Self:
        if self.kd == "kdnet" and self.hyperv and self.vendor == HYPERV_VENDOR:
            raise ValueError(f"with the hyperv_vendor {HYPERV_VENDOR}, Windows sends nothing to a KDNET NIC")
        return self


class Install(_Table):
    """Which Windows a profile's image is made from, and how long that may take."""

    oldest_build: Build
    newest_build: Build
    """Build numbers as install.wim gives them. They are those of the branch: 19041 for Windows 10 22H2."""
    kind: Literal["Client", "Server", "Server Core"]
    """INSTALLATIONTYPE in install.wim."""
    editions: Annotated[dict[str, ProductKey], Field(min_length=1)]
    """EDITIONID in install.wim -> product key that Setup is given, the edition to prefer first.

    The keys are the public ones that Microsoft lists for KMS clients: they choose an edition and activate
    nothing. An evaluation edition is installed without one: Setup refuses any.
    """
    virtio: str
    """Folder of this Windows in the virtio-win ISO, e.g. `w11` in `NetKVM/w11/amd64`."""
    bypass: tuple[Literal["BypassTPMCheck", "BypassSecureBootCheck", "BypassRAMCheck"], ...] = ()
    """Values of `HKLM\\SYSTEM\\Setup\\LabConfig` set before Setup looks at the hardware."""
    deadline: Annotated[float, Field(gt=0, le=86400)] = 10800
    """Seconds from power on to the sealed image."""
    stall: Seconds = 1800
    """Seconds without any progress after which the installation is given up."""

    @field_validator("editions")
    @classmethod
    def _evaluation_without_key(cls, editions: dict[str, str]) -> dict[str, str]:
        for edition, key in editions.items():
            if edition.endswith("Eval") == bool(key):
                raise ValueError(f"{edition}: evaluation editions have no product key, all others need one")
        return editions

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.oldest_build > self.newest_build:
            raise ValueError("oldest_build is newer than newest_build")
        return self


class Provision(_Table):
    """Settings of the installed guest; they are part of the image and read back before it is sealed."""

    dump: Literal["small", "kernel", "automatic", "active", "complete"] = "kernel"
    """CrashDumpEnabled, and FilterPages for `active`. Larger kinds leave a minidump as well."""
    dump_file_mib: Annotated[int, Field(ge=0, le=131072)] = 0
    """Size of a dedicated dump file; 0 dumps through the page file, whose size Windows makes fit the dump."""
    auto_reboot: bool = True
    """Restart after a bugcheck: MEMORY.DMP is written while Windows starts the next time."""
    memory_integrity: bool = False
    """Hypervisor-protected code integrity (HVCI)."""
    driver_verifier: bool = False
    """Driver Verifier's standard settings for the driver under test."""


class WindowsProfile(Profile):
    """A profile of a guest that is made from the user's Windows ISO."""

    guest: Literal["windows"]
    hardware: WindowsHardware
    install: Install
    provision: Provision = Provision()

    @model_validator(mode="after")
    def _complete_dump_fits(self) -> Self:
        least = self.hardware.memory_mib + COMPLETE_DUMP_MIB
        if self.provision.dump == "complete" and 0 < self.provision.dump_file_mib < least:
            raise ValueError(f"a complete dump of this machine needs a provision.dump_file_mib of {least}")
        return self

    @property
    def verified(self) -> bool:
        """See `Profile`."""
        return self.provision.driver_verifier
