"""The domain of a direct-boot guest: a frozen description of the machine, its XML from `vm/domain/`.

`virDomainRestore` takes the XML anew at every restore (host paths and ports differ) and refuses one whose
guest-visible part differs from the saved one: name, uuid, memory, vcpus, CPU and addresses must be the same.
So the XML for a boot and for each restore comes from one template, and the uuid from the ready state's key.
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import jinja2

from harness.deadline import Deadline
from harness.errors import BUILD_AGAIN, ImageError
from harness.host.resources import vm_folder
from harness.machine.accelerator import Accelerator
from harness.machine.overlay import create_overlay
from harness.project.profile import Profile

ADDRESS = "127.0.0.1"
"""Where forwarded ports listen: loopback only."""

TEMPLATE = "domain.xml.j2"

UUIDS = uuid.UUID("6f1c5a0e-7d0b-4f57-9d3a-5a1f0c9f6b11")
"""Namespace of the domains' uuids; each uuid is derived from its ready state's key."""


@dataclass(frozen=True)
class HostSide:
    """The part of a domain that is this host's and this run's: what a restore may change."""

    overlay: Path
    serials: Sequence[Path]
    dbgprint: Path
    ports: Mapping[str, int]
    clock: Path


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
        return state_key(self, TEMPLATE, versions, cmdline=self.cmdline)

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
            cmdline=self.cmdline,
            overlay=host.overlay,
            serials=host.serials,
            dbgprint=host.dbgprint,
            clock=host.clock,
            address=ADDRESS,
            forwards=hardware.forwards,
            ports=host.ports,
        )


class Saved(Protocol):
    """What a saved RAM state of every guest depends on."""

    @property
    def profile(self) -> Profile:
        """Its hardware."""

    @property
    def accelerator(self) -> Accelerator:
        """It decides the CPU."""

    @property
    def session(self) -> str:
        """Version of what the state holds running."""


def state_key(spec: Saved, template: str, versions: Mapping[str, str], **more: str) -> str:
    """The `ready_key` of a spec whose domain `template` makes; `more` is what else its state depends on."""
    parts = {
        "accelerator": spec.accelerator,
        "cpu": host_cpu() if spec.accelerator is Accelerator.KVM else "maximum",
        "versions": dict(versions),
        "hardware": spec.profile.hardware.model_dump(mode="json"),
        "template": template_text(template),
        "session": spec.session,
        **more,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def host_cpu() -> str:
    """What `host-passthrough` hands to the guest: model, stepping, microcode and flags of the first CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "stepping", "microcode", "flags")
    lines = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(line for line in lines if line.split("\t", 1)[0].strip() in wanted)


def template_text(name: str) -> str:
    """A domain template as it is in `vm/domain/`."""
    return (vm_folder() / "domain" / name).read_text(encoding="utf-8")


def render_template(template: str, **variables: object) -> str:
    """A domain template with every variable replaced, escaped for XML; one that is missing raises."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(template_text(template)).render(variables)
