"""Checks the INF of a driver package for x64, as InfVerif does: sections, files, service, catalogue.

Each finding says file and line, and the remedy. Only what is in the package is looked at: what `Include` and
`Needs` take from Windows' own INFs is not known here.

Sources, below https://learn.microsoft.com/windows-hardware/drivers/install/: inf-version-section,
inf-manufacturer-section, inf-models-section, inf-ddinstall-section, inf-copyfiles-directive,
inf-sourcedisksfiles-section, inf-addservice-directive, inf-defaultinstall-section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from harness.display.terminal import printable
from harness.toolchain.inf.document import SIZE_LIMIT, Entry, Inf, Section, read_inf
from harness.toolchain.inf.services import file_name, services_in

FINDINGS_LIMIT = 40
SHOWN = 120  # characters of a name from an INF
SIGNATURES = ("$windows nt$", "$chicago$")
ARCHITECTURE = "ntamd64"
STAMPED = "$arch$"  # in an .inx, of which the build makes the INF
SUFFIXES = ("", ".nt", f".{ARCHITECTURE}", f".nt{STAMPED}")
DISK_FILES = ("SourceDisksFiles", "SourceDisksFiles.amd64", f"SourceDisksFiles.{STAMPED}")
DISK_NAMES = ("SourceDisksNames", "SourceDisksNames.amd64", f"SourceDisksNames.{STAMPED}")
LISTS = ("CopyFiles", "DelFiles", "RenFiles", "AddReg", "DelReg", "BitReg", "UpdateInis", "Ini2Reg")
"""Directives of an install section that name sections."""
_VERSION = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})\Z")


class InfFinding(NamedTuple):
    """A rule of the static check that an INF breaks; file, line, what breaks it, and the remedy."""

    rule: str
    text: str


def check_inf(path: Path, files: Iterable[Path], service: str = "") -> list[InfFinding]:
    """What is wrong with an INF and its package; at most `FINDINGS_LIMIT` findings.

    Args:
        files: of the package: all in the INF's folder and below it.
        service: the name by which winvm starts the driver that the INF installs; empty if nobody does.
    """
    inf = read_inf(path)
    if inf is None:
        return [InfFinding("inf-version", f"{path.name} cannot be read. Correct driver.inf in winvm.toml")]
    return list(islice(_Checks(inf, files).findings(service), FINDINGS_LIMIT))


class _Checks:
    """Each section is looked at once, however many name it: the time grows with the file's size."""

    def __init__(self, inf: Inf, files: Iterable[Path]) -> None:
        self._inf = inf
        self._files = {file.name.lower() for file in files}
        self._copied: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        disks = [section for name in DISK_FILES if (section := inf.section(name))]
        self._on_disks = {inf.text(entry.key).lower(): entry for disk in disks for entry in disk.entries}

    def findings(self, service: str) -> Iterator[InfFinding]:
        """All of them, in the order in which Windows reads the file."""
        if not self._inf.whole:
            yield self._at(0, "inf-version", f"it is longer than {SIZE_LIMIT >> 20} MiB", "Shorten it")
        yield from self._version()
        installs = list(self._models())
        found = False
        for entry, name in installs:
            if entry is None:
                yield InfFinding("inf-platform", name)
                continue
            found = True
            yield from self._install(entry, name)
        if not found and not installs:
            if sections := self._variants("DefaultInstall"):
                for section in sections:
                    yield from self._installed(section)
                yield from self._services("DefaultInstall")
            else:
                remedy = f"Name models under [Manufacturer], or write [DefaultInstall.{ARCHITECTURE.upper()}]"
                yield self._at(0, "inf-platform", "it installs nothing", remedy)
        yield from self._sources()
        yield from self._named_service(service)
        yield from self._tokens()

    def _version(self) -> Iterator[InfFinding]:
        version = self._inf.section("Version")
        if version is None:
            yield self._at(
                0, "inf-version", "there is no section [Version]", 'Begin with it: Signature="$WINDOWS NT$"'
            )
            return
        signature = version.first("Signature")
        if signature is None or self._inf.text(signature.value(0)).lower() not in SIGNATURES:
            line = signature.line if signature else version.line
            yield self._at(line, "inf-version", "Signature is missing or unknown", 'Write "$WINDOWS NT$"')
        for key in ("Class", "ClassGuid", "Provider", "DriverVer"):
            entry = version.first(key)
            if entry is None or not self._inf.text(entry.value(0)):
                yield self._at(version.line, "inf-directive", f"[Version] has no {key}", f"Add {key} = ...")
        dated = version.first("DriverVer")
        if dated and dated.value(0) and not self._is_date(self._inf.text(dated.value(0))):
            text = f"DriverVer has no date: {self._shown(dated.value(0))}"
            yield self._at(dated.line, "inf-directive", text, "Write mm/dd/yyyy,w.x.y.z")
        yield from self._catalogue(version)

    def _is_date(self, text: str) -> bool:
        found = _VERSION.match(text)
        return found is not None and 1 <= int(found[1]) <= 12 and 1 <= int(found[2]) <= 31

    def _catalogue(self, version: Section) -> Iterator[InfFinding]:
        entry = version.first(*(f"CatalogFile{suffix}" for suffix in reversed(SUFFIXES)))
        if entry is None or not entry.value(0):
            text, remedy = (
                "[Version] has no CatalogFile",
                "x64 takes signed packages: add CatalogFile = NAME.cat",
            )
            yield self._at(version.line, "inf-catalogue", text, remedy)
        elif self._inf.text(entry.value(0)).lower() not in self._files:
            text = f"the catalogue {self._shown(entry.value(0))} is not beside the INF"
            yield self._at(entry.line, "inf-catalogue", text, "Make it with Inf2Cat and sign it")

    def _models(self) -> Iterator[tuple[Entry | None, str]]:
        """The models for x64, each with its install section's name; or None with what is wrong."""
        manufacturers = self._inf.section("Manufacturer")
        for entry in manufacturers.entries if manufacturers else ():
            names = [self._inf.text(value) for value in entry.values]
            base, decorations = (names[0] if names else entry.key), [name.lower() for name in names[1:]]
            own = [one for one in decorations if one.startswith((ARCHITECTURE, f"nt{STAMPED}"))]
            if not own:
                finding = self._at(
                    entry.line,
                    "inf-platform",
                    f"models {self._shown(base)} are for {', '.join(decorations) or 'x86'}, not for x64",
                    f"Write = {self._shown(base)},NTamd64 and a section [{self._shown(base)}.NTamd64]",
                )
                yield None, finding.text
            for decoration in own:
                section = self._inf.section(f"{base}.{decoration}")
                if section is None:
                    name = f"{self._shown(base)}.{decoration}"
                    yield None, self._missing(entry, "Manufacturer", name).text
                elif not self._first_time("models", section.name):
                    continue
                for model in section.entries if section else ():
                    yield model, self._inf.text(model.value(0))

    def _install(self, model: Entry, name: str) -> Iterator[InfFinding]:
        if not self._first_time("install", name):
            return
        sections = self._variants(name)
        if not sections:
            yield self._missing(model, f"the model {self._shown(model.key)}", self._shown(name))
        for section in sections:
            yield from self._installed(section)
        yield from self._services(name)

    def _installed(self, section: Section) -> Iterator[InfFinding]:
        for directive in LISTS:
            for entry in section.of(directive):
                for name in filter(None, map(self._inf.text, entry.values)):
                    if name.startswith("@"):
                        self._copied.add(name[1:].lower())
                        yield from self._is_there(entry, name[1:])
                    elif (listed := self._inf.section(name)) is None:
                        yield self._missing(entry, directive, self._shown(name))
                    elif directive == "CopyFiles" and self._first_time("files", name):
                        yield from self._copies(listed)

    def _copies(self, listed: Section) -> Iterator[InfFinding]:
        for entry in listed.entries:
            target, source = self._inf.text(entry.value(0)), self._inf.text(entry.value(1))
            self._copied.add(target.lower())
            if target:
                yield from self._is_there(entry, source or target)

    def _is_there(self, entry: Entry, name: str) -> Iterator[InfFinding]:
        """A file that is copied is in the package, and SourceDisksFiles says where."""
        if file_name(name).lower() not in self._files:
            text = f"the file {self._shown(name)} is not in the package"
            yield self._at(entry.line, "inf-file", text, "Put it there, or copy it no more")
        elif name.lower() not in self._on_disks:
            text = f"the file {self._shown(name)} is not in [SourceDisksFiles]"
            yield self._at(entry.line, "inf-section", text, f"Add {self._shown(name)} = 1 there")

    def _sources(self) -> Iterator[InfFinding]:
        """Disks that SourceDisksFiles names exist."""
        named = [section for name in DISK_NAMES if (section := self._inf.section(name))]
        disks = {self._inf.text(entry.key) for section in named for entry in section.entries}
        for entry in self._on_disks.values():
            if (disk := self._inf.text(entry.value(0))) not in disks:
                text = f"[SourceDisksNames] has no disk {self._shown(disk) or '1'}"
                yield self._at(entry.line, "inf-section", text, 'Add 1 = %Disk%,,,"" there')

    def _services(self, name: str) -> Iterator[InfFinding]:
        for section in self._variants(name, ".Services"):
            for entry in section.of("AddService"):
                if not entry.value(2):
                    continue  # of a device that needs no driver of its own
                installed = self._inf.section(entry.value(2))
                if installed is None:
                    yield self._missing(entry, "AddService", self._shown(entry.value(2)))
                elif self._first_time("service", installed.name):
                    yield from self._service(installed)

    def _service(self, section: Section) -> Iterator[InfFinding]:
        for key in ("ServiceType", "StartType", "ErrorControl", "ServiceBinary"):
            if section.first(key) is None:
                text = f"the service section [{self._shown(section.name)}] has no {key}"
                yield self._at(section.line, "inf-service", text, f"Add {key} = ...")
        binary = section.first("ServiceBinary")
        name = file_name(self._inf.text(binary.value(0))) if binary else ""
        if binary and name.lower() not in self._copied:
            text = f"ServiceBinary names {self._shown(name)}, which CopyFiles does not copy"
            yield self._at(binary.line, "inf-service", text, "Name the .sys that the package installs")

    def _named_service(self, service: str) -> Iterator[InfFinding]:
        names = [found.name for found in services_in(self._inf)]
        if service and names and service.lower() not in (name.lower() for name in names):
            text = f"it installs the service {self._shown(', '.join(names))}, and driver.name is {service}"
            yield self._at(0, "inf-service", text, "Give driver.name in winvm.toml the service's name")

    def _tokens(self) -> Iterator[InfFinding]:
        told: set[str] = set()
        for section in self._inf.sections.values():
            for entry in section.entries:
                for token in self._inf.unknown_tokens(",".join([entry.key, *entry.values])):
                    if token.lower() not in told:
                        told.add(token.lower())
                        text, remedy = f"[Strings] has no {self._shown(token)}", "Define it there"
                        yield self._at(entry.line, "inf-string", text, remedy)

    def _variants(self, name: str, after: str = "") -> list[Section]:
        """A section and those of its name with a platform's suffix."""
        found = (self._inf.section(f"{name}{suffix}{after}") for suffix in SUFFIXES)
        return [section for section in found if section is not None]

    def _first_time(self, what: str, name: str) -> bool:
        new = (what, name.lower()) not in self._seen
        self._seen.add((what, name.lower()))
        return new

    def _missing(self, entry: Entry, by: str, name: str) -> InfFinding:
        text = f"{by} names the section [{name}], which is missing"
        return self._at(entry.line, "inf-section", text, "Write it, or correct the name")

    def _at(self, line: int, rule: str, text: str, remedy: str) -> InfFinding:
        place = f"{self._inf.path.name}:{line}" if line else self._inf.path.name
        return InfFinding(rule, f"{place}: {text}. {remedy}")

    def _shown(self, text: str) -> str:
        return printable(text)[:SHOWN]
