"""The machine of a guest that boots a Linux kernel directly: a frozen description, and its domain's XML."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.deadline import Deadline
from harness.errors import BUILD_AGAIN, ImageError
from harness.machine.accelerator import Accelerator
from harness.machine.domain import ADDRESS, UUIDS, HostSide, render_template, state_key
from harness.machine.overlay import create_overlay
from harness.project.profile import Profile

TEMPLATE = "domain.xml.j2"
AGENT_SOCKET = "agent.sock"
"""The line of a guest whose profile says so, COM3 or a virtio console: a socket in the machine's folder."""
LINE_ARGUMENT = "winvm.transport="
"""Tells the guest on its kernel's command line to serve the line of that kind instead of its network."""


@dataclass(frozen=True)
class MachineSpec:
    """Everything that decides the virtual hardware and what it boots; equal specs share a ready state.

    image: the image folder, with `base.qcow2`, `vmlinuz`, `initrd.img`; never written to but for `ready-*`.
    cmdline: kernel command line, from the image's manifest.
    session: version of the guest-side command that the ready state holds running (e.g. a digest of winrmd).
    """

    image: Path
    profile: Profile
    accelerator: Accelerator
    cmdline: str
    session: str = ""

    @classmethod
    def checked(cls, image: Path, profile: Profile, accelerator: Accelerator, session: str = "") -> Self:
        """A spec whose image is complete.

        Raises:
            ImageError: a file of the image is missing or empty.
        """
        try:
            cmdline = str(json.loads((image / "manifest.json").read_text(encoding="utf-8"))["cmdline"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImageError(
                f"Image {image.name} has no usable manifest.json: {error}.",
                remedy=BUILD_AGAIN,
            ) from error
        spec = cls(image.resolve(), profile, accelerator, cmdline, session)
        for file in (spec.base, spec.kernel, spec.initrd):
            if not file.is_file() or file.stat().st_size == 0:
                raise ImageError(f"Image {image.name} has no usable {file.name}.", remedy=BUILD_AGAIN)
        return spec

    def require_base(self) -> None:
        """Raises `ImageError` when the disk below the saved state is gone: somebody removed the image."""
        if not self.base.is_file():
            raise ImageError(f"The image disk {self.base} is gone.", remedy=BUILD_AGAIN)

    @property
    def base(self) -> Path:
        """The image's disk, read-only."""
        return self.image / "base.qcow2"

    @property
    def kernel(self) -> Path:
        """Linux kernel for direct boot."""
        return self.image / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Its initial RAM disk."""
        return self.image / "initrd.img"

    @property
    def copied(self) -> Mapping[str, Path]:
        """Files of the image of which each machine has a copy: none."""
        return {}

    def create_disk(self, disk: Path, deadline: Deadline) -> None:
        """Makes the disk of a machine that boots.

        Raises:
            ImageError: the image's disk is gone or damaged.
        """
        self.require_base()
        create_overlay(disk, self.base, deadline)

    def ready_key(self, versions: Mapping[str, str]) -> str:
        """12 hex digits; they differ if a saved RAM state could not be restored or would be out of date.

        Args:
            versions: of QEMU and libvirt, from `Connection.versions`.
        """
        return state_key(self, TEMPLATE, versions, cmdline=self._arguments)

    @property
    def _arguments(self) -> str:
        """The kernel's command line."""
        line = f" {LINE_ARGUMENT}{self.profile.transport}" if self.profile.over_line else ""
        return self.cmdline + line

    def render(self, host: HostSide, *, name: str, key: str) -> str:
        """The domain's XML; `name` and `key` (of `ready_key`) must be those of the boot at a restore."""
        hardware = self.profile.hardware
        return render_template(
            TEMPLATE,
            name=name,
            uuid=uuid.uuid5(UUIDS, key),
            accelerator=self.accelerator.value,
            hardware=hardware,
            kernel=self.kernel,
            initrd=self.initrd,
            cmdline=self._arguments,
            agent_socket=host.overlay.with_name(AGENT_SOCKET) if self.profile.over_line else None,
            virtio_console=self.profile.transport == "console",
            overlay=host.overlay,
            vnc_socket=host.vnc_socket,
            serials=host.serials,
            dbgprint=host.dbgprint,
            clock=host.clock,
            address=ADDRESS,
            forwards=hardware.forwards,
            ports=host.ports,
        )
