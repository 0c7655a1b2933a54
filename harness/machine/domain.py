"""What the domains of all guests share: XML from `vm/domain/`, the key of a saved state, the host's side.

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
from typing import Protocol

import jinja2

from harness.host.resources import vm_folder
from harness.machine.accelerator import Accelerator
from harness.machine.channels import VNC_SOCKET
from harness.project.profile import Profile

ADDRESS = "127.0.0.1"
"""Where forwarded ports listen: loopback only."""

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

    @property
    def vnc_socket(self) -> Path:
        """Where QEMU shows the guest's screen."""
        return self.overlay.parent / VNC_SOCKET


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
