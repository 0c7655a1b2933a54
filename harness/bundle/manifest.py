"""A crash bundle: `crash-<signature>.tar.zst`, one file with everything needed to replay a crash elsewhere.

    manifest.json                       the replay and its guest; size and SHA-256 of each member
    agent.pyz                           agent and scenarios
    driver/<build>/<service>.sys .pdb   the build that crashed
    files/                              what deploy.files names
    companions/<service>.sys            the project's other drivers
    package/                            the INF package that installs it, if it is not a plain service
    image.json                          manifest of the guest image: its digest and content
    crash/                              the crash's folder: crash.json, analysis, journal, dump, screenshot

The archive is POSIX ustar and holds plain files only, the manifest first, the others sorted by name. It holds
no time and no owner of this host, so the same crash gives the same bytes. `harness.bundle.read` reads it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import zstandard
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from harness.bundle.payload import Payload
from harness.host.digest import stream_sha256
from harness.project.config import Name, Parameter, ParameterName, ServiceSection
from harness.project.profile import CAPABILITIES, Profile

MANIFEST, AGENT, IMAGE, PACKAGE = "manifest.json", "agent.pyz", "image.json", "package"
FILES, COMPANIONS = "files", "companions"
JOURNAL = "crash/journal.jsonl"
CRASH = "crash/crash.json"
MEMBER_LIMIT = 1 << 30
"""Largest size in bytes of one member, and of all members together."""
BEFORE_LIMIT = 1000
READ_SIZE = 1 << 20

Content = Path | bytes
"""Content of a member: a file on this host, or the bytes themselves."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
MemberName = Annotated[str, StringConstraints(pattern=rf"^({_PART}/){{0,3}}{_PART}$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,120}$")]
Text = Annotated[str, Field(max_length=10_000)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Member(_Entry):
    """One file of the bundle."""

    size: Annotated[int, Field(ge=0, le=MEMBER_LIMIT)]
    sha256: Sha256


TriggerKind = Literal["scenario", "load", "unload", "elsewhere"]


class Trigger(_Entry):
    """The action that crashed the guest: a scenario, or the loading or unloading of the driver.

    `elsewhere` is a pytest test that used the guest by hand: a bundle cannot replay it.
    """

    kind: TriggerKind
    name: Text
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    parameters: dict[ParameterName, Parameter] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0
    before: Annotated[list[Text], Field(max_length=BEFORE_LIMIT)] = []
    """Scenarios that ran in the same guest since it was restored, oldest first."""
    case: Annotated[str, Field(max_length=1 << 20)] = ""
    """JSON of the operations that the agent issues in the scenario's place; empty for a scenario."""


class Driver(_Entry):
    """The driver that crashed.

    `contract` is the module of the agent that declares HELLO, `inf` the file in `package/` that installs the
    driver; each is empty if there is none. `verified`: Driver Verifier was on for it.
    """

    service: Name
    build: Name
    inf: Annotated[str, StringConstraints(pattern=rf"^({_PART}\.[Ii][Nn][Ff])?$")] = ""
    verified: bool = False
    contract: Annotated[str, StringConstraints(pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,99})?$")]

    made: ServiceSection = ServiceSection()
    """How its service is made."""

    @property
    def member(self) -> str:
        """Its `.sys` in the bundle."""
        return f"driver/{self.build}/{self.service}.sys"


class CompanionDriver(_Entry):
    """Another driver of the project: its service, how that is made, and whether it is loaded first."""

    service: Name
    made: ServiceSection = ServiceSection()
    before: bool = True

    @property
    def member(self) -> str:
        """Its `.sys` in the bundle."""
        return f"{COMPANIONS}/{self.service}.sys"


class Manifest(_Entry):
    """manifest.json.

    Attributes:
        what: the crash in one line.
        guest, profile: name and content of the profile that the guest ran with.
        image: digest of the guest image.
        environment: versions and digests, for a person to read.
    """

    schema_: Literal[1] = Field(alias="schema")
    winvm: Text
    signature: Signature
    what: Text
    trigger: Trigger
    driver: Driver
    companions: Annotated[list[CompanionDriver], Field(max_length=64)] = []
    guest: Name
    profile: dict[Text, Any]
    image: Sha256
    environment: dict[Text, Text]
    members: Annotated[dict[MemberName, Member], Field(max_length=1200)]


def profile_document(profile: Profile) -> dict[str, Any]:
    """The part of a profile that affects the guest's behaviour: everything but its timeouts."""
    document = profile.model_dump(mode="json", exclude={"timeouts", "image_of"})
    return {**document, "missing_capabilities": sorted(CAPABILITIES - profile.capabilities)}


def member_files(payload: Payload, driver: Driver, image: Path, crash: Path) -> dict[str, Path]:
    """Member name -> the file on this host with its content.

    Args:
        driver: the build of the payload that crashed.
        image: manifest of the guest image.
        crash: the crash's folder.
    """
    sys_file = payload.drivers[driver.build]
    files = {AGENT: payload.agent, driver.member: sys_file, IMAGE: image}
    symbols = sys_file.with_suffix(".pdb")
    if symbols.is_file():
        files[driver.member.removesuffix(".sys") + ".pdb"] = symbols
    if package := payload.packages.get(driver.build):
        root = package.inf.parent
        files |= {f"{PACKAGE}/{file.relative_to(root).as_posix()}": file for file in package.files}
    files |= {f"{FILES}/{place}": file for place, file in payload.files.items()}
    files |= {f"{COMPANIONS}/{other.name}.sys": other.drivers[driver.build] for other in payload.companions}
    files |= {f"crash/{file.name}": file for file in crash.iterdir() if file.is_file()}
    return files


def write_bundle(target: Path, files: Mapping[str, Content], **described: Any) -> Manifest:
    """Writes a bundle atomically: a reader sees the complete file or none.

    Args:
        described: the fields of the manifest, except `schema` and `members`.

    Raises:
        OSError: a file cannot be read, or the disk is full.
        ValueError: a manifest cannot hold a name or value.
    """
    members = {name: _measured(files[name]) for name in sorted(files)}
    manifest = Manifest(schema=1, members=members, **described)
    partial = target.with_name(target.name + ".partial")
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    try:
        with (
            partial.open("wb") as sink,
            compressor.stream_writer(sink) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
        ):
            text = manifest.model_dump_json(by_alias=True, indent=1).encode() + b"\n"
            archive.addfile(_header(MANIFEST, len(text)), io.BytesIO(text))
            for name, member in members.items():
                with _opened(files[name]) as content:
                    archive.addfile(_header(name, member.size), content)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return manifest


def _opened(content: Content) -> io.BufferedReader | io.BytesIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _measured(content: Content) -> Member:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with _opened(content) as opened:
        return Member(size=size, sha256=stream_sha256(opened))


def _header(name: str, size: int) -> tarfile.TarInfo:
    """A header without data of this host: owner 0, mode 0644, time 0."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info
