"""A profile of a ReactOS guest: as every profile, but the guest is reached over a serial line alone."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.project.profile import Hardware, Profile


class ReactosHardware(Hardware):
    """The machine: an IDE disk, standard VGA, no network adapter."""

    machine: Literal["pc"] = "pc"
    vcpus: Literal[1] = 1
    forwards: dict[str, int] = {}  # noqa: RUF012 - a field of a frozen model


class ReactosProfile(Profile):
    """A profile of a guest that is made from the user's live CD of ReactOS."""

    guests: ClassVar[str] = "ReactOS"

    guest: Literal["reactos"]
    hardware: ReactosHardware
    transport: Literal["serial"] = "serial"


def build_again(profile: str) -> str:
    """The remedy for an image that is missing or not whole."""
    return f"Build it: winvm image build {profile} --iso PATH"
