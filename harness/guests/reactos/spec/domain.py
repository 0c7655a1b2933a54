"""A ReactOS guest's machine: a frozen description, and its domain's XML from `vm/domain/reactos.xml.j2`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.reactos.spec.profile import ReactosProfile, build_again
from harness.machine.accelerator import Accelerator
from harness.machine.domain import UUIDS, HostSide, render_template, state_key
from harness.machine.overlay import create_overlay

TEMPLATE = "reactos.xml.j2"
KD_SOCKET = "kd.sock"
"""COM1, the kernel debugger's, in the machine's folder."""
AGENT_SOCKET = "agent.sock"
"""COM2, of commands and files, in the machine's folder."""
JOURNAL = r"\\.\COM1"
"""COM3 as the guest names it: it counts the ports as QEMU's ACPI tables list them, the last one first."""


@dataclass(frozen=True)
class ReactosSpec:
    """Everything that decides the virtual hardware and what it boots; equal specs share a ready state.

    image: the image folder, with `base.qcow2`.
    session: version of the guest-side command that the ready state holds running.
    """

    image: Path
    profile: ReactosProfile
    accelerator: Accelerator
    session: str = ""

    @classmethod
    def checked(
        cls, image: Path, profile: ReactosProfile, accelerator: Accelerator, session: str = ""
    ) -> Self:
        """A spec whose image is complete; raises `ImageError` if its disk is missing or empty."""
        spec = cls(image.resolve(), profile, accelerator, session)
        if not spec.base.is_file() or spec.base.stat().st_size == 0:
            raise ImageError(f"Image {image.name} has no usable disk.", remedy=build_again(profile.name))
        return spec

    @property
    def base(self) -> Path:
        """The image's disk, read-only."""
        return self.image / "base.qcow2"

    @property
    def copied(self) -> Mapping[str, Path]:
        """Files of the image of which each machine has a copy: none."""
        return {}

    def require_base(self) -> None:
        """Raises `ImageError` when the disk below the saved state is gone: somebody removed the image."""
        if not self.base.is_file():
            raise ImageError(f"The image disk {self.base} is gone.", remedy=build_again(self.profile.name))

    def create_disk(self, disk: Path, deadline: Deadline) -> None:
        """Makes the disk of a machine that boots; raises `ImageError` if the image's is gone or damaged."""
        self.require_base()
        create_overlay(disk, self.base, deadline)

    def ready_key(self, versions: Mapping[str, str]) -> str:
        """See `Spec`."""
        return state_key(self, TEMPLATE, versions)

    def render(self, host: HostSide, *, name: str, key: str) -> str:
        """The domain's XML; `name` and `key` (of `ready_key`) must be those of the boot at a restore."""
        _, journal, *_ = host.serials
        return render_template(
            TEMPLATE,
            name=name,
            uuid=uuid.uuid5(UUIDS, key),
            kvm=self.accelerator is Accelerator.KVM,
            hardware=self.profile.hardware,
            overlay=host.overlay,
            vnc_socket=host.vnc_socket,
            kd_socket=host.overlay.with_name(KD_SOCKET),
            agent_socket=host.overlay.with_name(AGENT_SOCKET),
            journal=journal,
        )
