"""The libvirt domain: a frozen description of the machine and its XML, rendered from `vm/domain/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.machine.accelerator import Accelerator
from harness.machine.profile import Profile


@dataclass(frozen=True)
class MachineSpec:
    """Everything that decides the virtual hardware and what it boots; equal specs share a ready state.

    image: the image folder, with `base.qcow2`, `vmlinuz`, `initrd.img`; never written to but for `ready-*`.
    session: version of the guest-side command that the ready state holds running (e.g. a digest of winrmd).
    """

    image: Path
    profile: Profile
    accelerator: Accelerator
    session: str = ""

    @classmethod
    def checked(cls, image: Path, profile: Profile, accelerator: Accelerator, session: str = "") -> Self:
        """A spec whose image is complete.

        Raises:
            ImageError: a file of the image is missing or empty.
        """
        raise NotImplementedError
