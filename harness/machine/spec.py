"""A machine's virtual hardware and what it boots; each flavour of guest has its own class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from harness.deadline import Deadline
from harness.machine.domain import HostSide, Saved
from harness.plugins import FLAVOURS


class Spec(Saved, Protocol):
    """Virtual hardware and what it boots; a frozen dataclass, whose equal values share a ready state."""

    @property
    def image(self) -> Path:
        """The image folder; never written to but for `ready-*`."""

    @property
    def base(self) -> Path:
        """The image's disk, read-only."""

    @property
    def copied(self) -> Mapping[str, Path]:
        """Files of the image of which each machine has a copy: name in its folder -> source."""

    def require_base(self) -> None:
        """Raises `ImageError` when the disk below the saved state is gone: somebody removed the image."""

    def create_disk(self, disk: Path, deadline: Deadline) -> None:
        """Makes the disk of a machine that boots.

        Raises:
            ImageError: the image's disk is gone or damaged.
        """

    def ready_key(self, versions: Mapping[str, str]) -> str:
        """12 hex digits; they differ if a saved RAM state could not be restored or would be out of date.

        Args:
            versions: of QEMU and libvirt, from `Connection.versions`.
        """

    def render(self, host: HostSide, *, name: str, key: str) -> str:
        """The domain's XML; at a restore `name` and `key` must be those of the boot."""


def _read(document: object) -> Spec:
    """A spec from a record: the flavour that its profile names knows the type.

    Raises:
        ConfigurationError: there is no such flavour any more.
        ValueError: the record is not one of a spec.
    """
    if not isinstance(document, dict):
        return document  # type: ignore[return-value]  # one that was made in this process
    profile = document.get("profile")
    guest = profile.get("guest") if isinstance(profile, dict) else None
    spec_type = FLAVOURS.find(str(guest)).spec_type  # type: ignore[attr-defined]  # see `Flavour`
    spec: Spec = TypeAdapter(spec_type).validate_python(document)
    return spec


def _document(spec: Spec) -> object:
    return TypeAdapter(type(spec)).dump_python(spec, mode="json")


RecordedSpec = Annotated[Spec, PlainValidator(_read), PlainSerializer(_document)]
"""A spec as a field of a record on disk."""
