"""A run on a libvirt daemon that others use too: names of the run's domains, settings the daemon needs.

Such a run keeps `daemon.json` in its folder: where the daemon is, and the token in its domains' names. With
these a later process finds the domains of a run that was killed, also on another host; no domain without that
token is ever touched.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HostError

CLAIM = "daemon.json"
QEMU_CONF = Path("/etc/libvirt/qemu.conf")
_ROOT = "+0:+0"
_SET_IT = (
    'Set user = "root", group = "root", dynamic_ownership = 0 and stdio_handler = "file" in {where}, '
    "then restart its libvirtd; docs/nightly.md says why."
)


class Claim(BaseModel):
    """`daemon.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    token: str = Field(default_factory=lambda: secrets.token_hex(6), pattern="^[0-9a-f]{12}$")

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """The claim saved in a run's folder; None for a run without a daemon."""
        try:
            return cls.model_validate_json((folder / CLAIM).read_bytes())
        except (OSError, ValidationError):
            return None

    def save(self, folder: Path) -> None:
        """Writes `daemon.json`; must happen before the first domain is made."""
        (folder / CLAIM).write_text(self.model_dump_json() + "\n", encoding="utf-8")

    def domain_name(self, machine: str) -> str:
        """The domain of the run's machine of that name. All have one length (see `savefile.py`)."""
        return f"winvm-{self.token}-{hashlib.sha256(machine.encode()).hexdigest()[:4]}"

    def domains(self, api: Any) -> list[Any]:
        """The run's living domains."""
        return [domain for domain in api.listAllDomains() if domain.name().startswith(f"winvm-{self.token}-")]


def require_usable(capabilities: str, qemu_conf: str, where: str) -> None:
    """Raises `HostError` unless the daemon's QEMUs can use a run's files, and write guest output untruncated.

    Args:
        capabilities: libvirt's XML; it names the user that QEMUs run as.
        qemu_conf: the daemon's configuration; empty if it cannot be read; it is not checked then.
        where: for messages: the daemon's URI.
    """
    remedy = _SET_IT.format(where=f"{QEMU_CONF} of {where}")
    models = ET.fromstring(capabilities).iterfind("host/secmodel")  # noqa: S314 - libvirt's own
    users = {
        label.text
        for model in models
        if model.findtext("model") == "dac"
        for label in model.iterfind("baselabel")
        if label.get("type") in ("kvm", "qemu")
    }
    if others := sorted(user for user in users if user and user != _ROOT):
        raise HostError(
            f"QEMU of {where} runs as user and group {others[0]}, who may not use the files of a run.",
            remedy=remedy,
        )
    if qemu_conf and not re.search(r'^\s*stdio_handler\s*=\s*"file"', qemu_conf, re.MULTILINE):
        raise HostError(
            f"{where} writes guest output through virtlogd, which cuts it at 2 MiB.", remedy=remedy
        )


def host_cpu(capabilities: str) -> str:
    """The daemon's host's CPU, as libvirt describes it: a state saved under KVM needs the same."""
    found = ET.fromstring(capabilities).find("host/cpu")  # noqa: S314 - libvirt's own
    return "" if found is None else ET.tostring(found, encoding="unicode")
