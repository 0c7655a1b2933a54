"""What a profile of a Windows guest says beyond `Profile`: media, firmware, debugger, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from harness.plugins import DEBUGGERS
from harness.project.profile import Hardware, Profile, Seconds, Table

KDNET_HOST, KDNET_PORT, KDNET_BUSPARAMS = "10.0.3.2", 50000, "0.4.0"
"""Settings of a KDNET target (`bcdedit /dbgsettings net`, `/set {dbgsettings} busparams`): the debugger's
address on the NIC's network, the UDP port, and the PCI address (bus.device.function, decimal) of the NIC. The
network is not that of the control NIC (10.0.2.0/24): Windows uses the debugger's NIC as well."""
CONTROL_MAC, CONTROL_ADDRESS, CONTROL_PREFIX = "52:54:00:12:34:56", "10.0.2.15", 24
"""The control NIC, and the address that the host's forwards lead to; Windows has it as a static one."""
KDNET_LEASE = "10.0.3.15"
"""The address that the guest gets there by DHCP."""
HYPERV_VENDOR, OTHER_VENDOR = "Microsoft Hv", "KVMKVMKVM"
"""Vendor names that the Hyper-V enlightenments may report: QEMU's own, and that of KVM itself."""
KD_COM, JOURNAL_COM = 1, 2
"""Numbers of the COM ports that the kernel's debugger (where it is serial) and the agent's journal use."""

BOUND = {"machine", "firmware", "secure_boot", "tpm", "disk_gib", "disk_bus", "control_nic", "kd"}
"""Hardware that an image was made for; Windows takes the rest as it finds it at each start."""
DEVICE = r"^[A-Za-z][A-Za-z0-9_.-]*(,[A-Za-z][A-Za-z0-9_.-]*=[A-Za-z0-9_.:/+-]*)*$"
"""A model of QEMU's and its properties; no comma in a value."""
FILE_MODELS = ("loader", "guest-loader")
"""Models that copy a file of the host into the guest."""
STANDARD_CHECKS = 0x209BB
"""Driver Verifier's standard settings as flags (Microsoft Learn: Driver Verifier options)."""
MoreCheck = Literal["low-resources", "systematic-low-resources", "force-pending-io", "irp-logging"]
MORE_CHECKS: dict[MoreCheck, int] = {
    "low-resources": 0x4,
    "systematic-low-resources": 0x40000,
    "force-pending-io": 0x200,
    "irp-logging": 0x400,
}
"""Checks that are not among them -> their flags."""
COMPLETE_DUMP_MIB = 257
"""What a complete dump takes beside the memory (Microsoft Learn: Overview of memory dump file options)."""

Build = Annotated[int, Field(ge=10240, le=99999)]
ProductKey = Annotated[str, StringConstraints(pattern=r"^(|[A-Z0-9]{5}(-[A-Z0-9]{5}){4})$")]


class WindowsHardware(Hardware):
    """The machine of a Windows guest: q35, standard VGA; Secure Boot is off unless it is asked for.

    Every Windows includes drivers for SATA and e1000e; dumps through virtio depend on an added driver.
    """

    machine: Literal["q35"] = "q35"
    firmware: Literal["uefi", "bios"]
    secure_boot: bool = False
    """Secure Boot with Microsoft's keys: only drivers that Microsoft signed load, and no kernel debugger."""
    tpm: bool = False
    """An emulated TPM 2.0; needs swtpm on the host."""
    disk_gib: Annotated[int, Field(ge=20, le=2048)]
    disk_bus: Literal["sata", "virtio"] = "sata"
    control_nic: Literal["e1000e", "virtio"] = "e1000e"
    kd: str
    """How the kernel's debugger is reached: by an e1000e of its own, by COM1, or not at all."""
    hyperv: bool = True
    """Hyper-V enlightenments, and the panic device, which is one of them."""
    hyperv_vendor: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,12}$")] = ""
    """The vendor name that the enlightenments report; empty: see `vendor`."""
    devices: tuple[Annotated[str, StringConstraints(pattern=DEVICE)], ...] = ()
    """More devices, each as QEMU's `-device` takes it: `edu`, `vfio-pci,host=0000:03:00.0`."""
    on_bugcheck: Literal["dump", "stop"] = "dump"
    """What the machine does once the panic device has reported a bugcheck: `dump` lets Windows go on, write
    its own dump and restart; `stop` stops the CPUs, so that only the host can dump the memory."""

    @property
    def vendor(self) -> str:
        """The vendor name that the enlightenments report: QEMU's own, unless a KDNET NIC is to be used.

        Under QEMU's name Windows sends the debugger's packets to Hyper-V's synthetic transport and none to
        the NIC. Under another name it is not confirmed that Windows reports a bugcheck to the panic device.
        """
        return self.hyperv_vendor or (OTHER_VENDOR if self.kd == "kdnet" else HYPERV_VENDOR)

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, devices: tuple[str, ...]) -> tuple[str, ...]:
        for device in devices:
            if device.partition(",")[0] in FILE_MODELS:
                raise ValueError(f"{device!r} would read a file of the host")
        return devices

    @field_validator("kd")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DEBUGGERS.names():
            raise ValueError(f"{name!r} is none of {', '.join(DEBUGGERS.names())}")
        return name

    @model_validator(mode="after")
    def _secure_boot_forbids(self) -> Self:
        if self.secure_boot and self.firmware != "uefi":
            raise ValueError("secure_boot needs the firmware uefi")
        if self.secure_boot and self.kd != "none":
            raise ValueError('secure_boot forbids a kernel debugger: set kd = "none"')
        return self

    @model_validator(mode="after")
    def _kdnet_is_heard(self) -> Self:
        if self.kd == "kdnet" and self.hyperv and self.vendor == HYPERV_VENDOR:
            raise ValueError(f"with the hyperv_vendor {HYPERV_VENDOR}, Windows sends nothing to a KDNET NIC")
        return self


class Install(Table):
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


class Provision(Table):
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
    files: tuple[Annotated[str, StringConstraints(min_length=1, max_length=4096)], ...] = ()
    """Files of the user's own that provisioning copies to `C:\\winvm\\files`; host paths."""
    script: str = ""
    """One of `files`, which provisioning runs there once, as SYSTEM: .cmd, .bat, .ps1 or .py."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files as host paths."""
        return tuple(Path(name).expanduser() for name in self.files)

    @model_validator(mode="after")
    def _script_is_a_file(self) -> Self:
        if self.script and self.script not in self.files:
            raise ValueError(f"provision.script {self.script!r} is none of provision.files")
        return self


class WindowsProfile(Profile):
    """A profile of a guest that is made from the user's Windows ISO."""

    guests: ClassVar[str] = "Windows"

    guest: Literal["windows"]
    hardware: WindowsHardware
    install: Install
    provision: Provision = Provision()
    transport: Literal["network"] = "network"
    verifier: tuple[MoreCheck, ...] = ()
    """What Driver Verifier does beyond its standard settings, in runs that switch it on."""
    image_of: WindowsProfile | None = None
    """The profile that this one extends and whose image it shares; set by the loader, never in a file."""

    @property
    def image_profile(self) -> WindowsProfile:
        """Whose image it runs from."""
        return self.image_of or self

    def shared_image(self, base: Self) -> Self | None:
        """See `Profile`."""
        same = self.bound() == base.bound()
        return base.image_profile if same else None  # type: ignore[return-value]

    def bound(self) -> dict[str, object]:
        """What an image depends on: media, settings and the hardware in `BOUND`; JSON."""
        document = self.model_dump(mode="json", include={"install", "provision"})
        for limit in ("deadline", "stall"):
            del document["install"][limit]
        return {**document, "hardware": self.hardware.model_dump(mode="json", include=BOUND)}

    @property
    def checks(self) -> tuple[str, ...]:
        """Driver Verifier's settings, as verifier.exe takes them."""
        flags = STANDARD_CHECKS
        for name in self.verifier:
            flags |= MORE_CHECKS[name]
        return ("/flags", f"{flags:#x}") if self.verifier else ("/standard",)

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
