"""What a profile (`vm/profiles/*.toml`) says about a guest: its hardware, capabilities and timeouts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import ConfigurationError
from harness.resources import vm_folder

CAPABILITIES: frozenset[str] = frozenset(
    {
        "caller-address-space",  # the driver sees the caller's own pages: METHOD_NEITHER, bad pointers
        "driver-verifier",
        "exclusive-device",  # IoCreateDevice(Exclusive=TRUE) is enforced by the kernel
        "inf-package",  # a driver installs by its INF (pnputil)
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

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=7200)]


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


class Profile(_Table):
    """One validated profile file."""

    name: str
    guest: Literal["wine", "windows"]
    hardware: Hardware
    timeouts: Timeouts
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

    @classmethod
    def named(cls, name: str) -> Self:
        """A shipped profile, `vm/profiles/<name>.toml`.

        Raises:
            ConfigurationError: as for `load`, or there is none of that name.
        """
        return cls.load(vm_folder() / "profiles" / f"{name}.toml")

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads and checks a profile.

        Raises:
            ConfigurationError: the file is missing, is not TOML, or holds a wrong or unknown entry.
        """
        try:
            return cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
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
