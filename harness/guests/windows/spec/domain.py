"""The domain of a Windows guest: its hardware as a spec, and its XML from `vm/domain/windows.xml.j2`.

One template serves the installation (an empty disk, and CD-ROMs) and every later run (an overlay of the
sealed disk). What depends on the accelerator: Hyper-V's enlightenments, and with them the panic device that
reports a bugcheck's code and parameters, exist under KVM only. An emulated CPU gets QEMU's pvpanic instead:
there, only the kernel debugger reports a bugcheck.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.windows.spec.profile import CONTROL_ADDRESS, CONTROL_MAC, KDNET_BUSPARAMS, WindowsProfile
from harness.machine.accelerator import Accelerator
from harness.machine.channels import SOCKETS
from harness.machine.domain import ADDRESS, UUIDS, HostSide, render_template, state_key
from harness.machine.overlay import create_empty, create_overlay

TEMPLATE = "windows.xml.j2"
NVRAM = "nvram.fd"
"""File of the UEFI variables: the image has those that Setup left, each machine's folder has its own."""
KD_SOCKET = "kd.sock"
"""The debugger's serial port, in the machine's folder."""
KDNET_SOCKET = f"{SOCKETS}/kdnet.sock"
"""The debugger's network adapter, in the machine's folder: QEMU listens, the debugger connects."""


@dataclass(frozen=True)
class WindowsSpec:
    """Everything that decides the virtual hardware and what it boots; equal specs share a ready state.

    image: the image folder, with `base.qcow2` and, where the firmware is UEFI, `nvram.fd`.
    session: version of the guest-side command that the ready state holds running.
    media: ISO images in the CD-ROM drives, the one to install from first: the machine then begins with an
        empty disk and fresh firmware variables, and `base.qcow2` need not be there.
    settings: ISO image in a CD-ROM drive of a guest that is installed already, and is to be provisioned.
    online: the guest reaches the host's networks; only an installation that downloads needs that.
    """

    image: Path
    profile: WindowsProfile
    accelerator: Accelerator
    session: str = ""
    media: tuple[Path, ...] = ()
    settings: Path | None = None
    online: bool = False

    @classmethod
    def checked(
        cls, image: Path, profile: WindowsProfile, accelerator: Accelerator, session: str = ""
    ) -> Self:
        """A spec whose image is complete.

        Raises:
            ImageError: a file of the image is missing or empty.
        """
        spec = cls(image.resolve(), profile, accelerator, session)
        for file in (spec.base, *spec.copied.values()):
            if not file.is_file() or file.stat().st_size == 0:
                raise ImageError(f"Image {image.name} has no usable {file.name}.", remedy=_build(profile))
        return spec

    @property
    def base(self) -> Path:
        """The image's disk, read-only."""
        return self.image / "base.qcow2"

    def require_base(self) -> None:
        """Raises `ImageError` when the disk below the saved state is gone: somebody removed the image."""
        if not self.base.is_file():
            raise ImageError(f"The image disk {self.base} is gone.", remedy=_build(self.profile))

    def create_disk(self, disk: Path, deadline: Deadline) -> None:
        """Makes the disk of a machine that boots: an overlay, or an empty one to install onto.

        Raises:
            ImageError: the image's disk is gone or damaged.
        """
        if self.media:
            create_empty(disk, self.profile.hardware.disk_gib * 2**30, deadline)
        else:
            self.require_base()
            create_overlay(disk, self.base, deadline)

    @property
    def copied(self) -> Mapping[str, Path]:
        """Files of the image of which each machine has a copy: name in its folder -> source."""
        if self.media or self.profile.hardware.firmware == "bios":
            return {}
        return {NVRAM: self.image / NVRAM}

    def ready_key(self, versions: Mapping[str, str]) -> str:
        """12 hex digits; they differ if a saved RAM state could not be restored or would be out of date.

        Args:
            versions: of QEMU and libvirt, from `Connection.versions`.
        """
        return state_key(self, TEMPLATE, versions)

    def render(self, host: HostSide, *, name: str, key: str) -> str:
        """The domain's XML; at a restore `name` and `key` must be those of the boot."""
        hardware = self.profile.hardware
        console, journal, *_ = host.serials
        kvm = self.accelerator is Accelerator.KVM
        return render_template(
            TEMPLATE,
            name=name,
            uuid=uuid.uuid5(UUIDS, key),
            kvm=kvm,
            enlightened=kvm and hardware.hyperv,
            hardware=hardware,
            uefi=hardware.firmware == "uefi",
            nvram=NVRAM,
            folder=host.overlay.parent,
            overlay=host.overlay,
            vnc_socket=host.vnc_socket,
            media=(*self.media, *([self.settings] if self.settings else [])),
            online=self.online,
            console=console,
            journal=journal,
            kd_socket=KD_SOCKET,
            kdnet_socket=KDNET_SOCKET,
            kd_slot=int(KDNET_BUSPARAMS.split(".")[1]),
            address=ADDRESS,
            control_mac=CONTROL_MAC,
            control_address=CONTROL_ADDRESS,
            ports=host.ports,
        )


def _build(profile: WindowsProfile) -> str:
    return f"Build it again: winvm image build {profile.name} --iso PATH"
