"""Builds a Windows image in stages: prepared, set up by Windows Setup, provisioned, sealed.

Several processes may build images of different profiles at once; of one profile, one at a time. A build works
in images/.install-<profile>-<random>/ and renames the finished folder into place: an image is either complete
or absent. The next build, or the next run (`harness.run.prune`), removes the folder and the machine of a
killed build. What a later build can go on from is in images/.stage-<profile>/ (`stages.py`), until the image
is sealed. The evidence of an installation that failed stays in installations/<profile>/.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import ConfigurationError, ImageError, InfrastructureError
from harness.guests.windows.image import aftermath
from harness.guests.windows.image.configuration import write_iso
from harness.guests.windows.image.installation import STARTING, Installation, Limits, Report
from harness.guests.windows.image.manifest import manifest, report_record
from harness.guests.windows.image.preparation import Preparation, Request, prepare, record_of
from harness.guests.windows.image.sealed import (
    UNFINISHED,
    WindowsImage,
    load,
    lock_file,
    seal,
)
from harness.guests.windows.image.stages import PROVISIONED, SET_UP, Stages
from harness.guests.windows.spec.domain import NVRAM, WindowsSpec
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.host.private import private_folder
from harness.images.base import images_folder
from harness.images.evidence import evidence_folder, note_error
from harness.journal import Journal, StepKind
from harness.machine.accelerator import Accelerator, choose_accelerator
from harness.machine.leftovers import remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.overlay import flatten, require_space
from harness.machine.runfolder import RunFolder

PROBE_S = 30.0
BESIDE_WINDOWS = 8 << 30
"""Bytes that an installation takes beside the files of install.wim: page file, component store, logs."""
KEYS_S = {Accelerator.KVM: 60.0, Accelerator.TCG: 150.0}
"""How long the firmware may take to ask for a key. Setup shows its first page later than that."""
COLLECT_S = 300.0
FLATTEN_S = 1800.0
STOP_S = 30.0
"""For a failed installation to shut down by itself, which writes its logs to the disk."""


def build(request: Request, home: Path, journal: Journal) -> WindowsImage:
    """The image that the request asks for: the sealed one, or a new one (an hour or so under KVM).

    Raises:
        ConfigurationError: a file that the request names cannot be used; or it names no ISO, and no end of
            Setup is kept.
        HostError: no disk space, a tool is missing.
        ImageError: the installation failed; its evidence is in installations/<profile>/.
        MachineError, DeadlineError: likewise.
    """
    profile, images = request.profile.name, images_folder(home)
    private_folder(home)
    private_folder(images)
    stages = Stages.of(images, profile)
    preparation, iso_sha256 = _prepared(request, home, stages, journal)
    with hold(
        lock_file(images, profile),
        lambda: journal.note(f"waiting for another process that is installing {profile}"),
    ):
        kept = stages.kept(SET_UP)
        if request.iso is None and kept is None:
            raise _no_stage(profile)
        setup = preparation.setup_digest(iso_sha256) if request.iso else str((kept or {})["setup"])
        digest = preparation.digest(setup)
        place = images / f"{profile}-{digest[:12]}"
        if request.iso:
            with suppress(ImageError):
                return load(place)
        for leftover in images.glob(f"{UNFINISHED}{profile}-*"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{profile}-", dir=images))
        try:
            with journal.step(StepKind.IMAGE, f"image: install {profile}", digest=digest):
                making = _Making(preparation, iso_sha256, digest, home, work, stages, journal)
                image = making.image(_resumed(request, kept, setup, journal), place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if not request.keep:
            stages.remove()
        return image


def _prepared(request: Request, home: Path, stages: Stages, journal: Journal) -> tuple[Preparation, str]:
    if request.iso is None:
        kept = stages.kept(SET_UP)
        if kept is None:
            raise _no_stage(request.profile.name)
        return prepare(request, home, journal, kept), ""
    preparation = prepare(request, home, journal)
    with journal.step(StepKind.IMAGE, "image: SHA-256 of the installation ISO"):
        return preparation, file_sha256(request.iso)


def _no_stage(profile: str) -> ConfigurationError:
    return ConfigurationError(
        f"No end of Windows Setup is kept of {profile}.",
        remedy=f"Install it first: winvm image build {profile} --iso PATH --keep",
    )


def _resumed(
    request: Request, kept: dict[str, Any] | None, setup: str, journal: Journal
) -> dict[str, Any] | None:
    """The end of Setup to go on from; notes why it is another one than the user may think."""
    if request.iso is None:
        return kept
    if not request.resume:
        if kept:
            journal.note(
                "the end of an earlier Setup is kept, and now replaced; --resume would go on from it"
            )
        return None
    if kept is None:
        journal.note("no end of Setup is kept: from the beginning")
    elif kept["setup"] != setup:
        journal.note("the end of Setup that is kept is of another ISO or other settings: from the beginning")
        return None
    return kept


@dataclass
class _Making:
    """One build under the profile's lock. work: a folder of its own, which is removed at the end."""

    preparation: Preparation
    iso_sha256: str
    digest: str
    home: Path
    work: Path
    stages: Stages
    journal: Journal

    def image(self, installed: dict[str, Any] | None, place: Path) -> WindowsImage:
        """The sealed image; `installed` is the end of Setup to go on from."""
        request = self.preparation.request
        require_space(
            self.work, self.preparation.choice.image.size + BESIDE_WINDOWS, "the installation of Windows"
        )
        accelerator = choose_accelerator(self.home / "accelerator.json", Deadline.after(PROBE_S)).accelerator
        if accelerator is Accelerator.TCG:
            self.journal.warn(
                "without KVM the processor is emulated: Windows may take longer than the profile allows"
            )
        evidence = evidence_folder(self.home, request.profile.name)
        if installed is None:
            self.stages.begin()
            shutil.rmtree(evidence, ignore_errors=True)
        else:
            self.journal.note("Windows Setup is not run again: its end is kept from an earlier build")
        evidence.mkdir(parents=True, exist_ok=True)
        settings = self.work / "configuration.iso"
        with self.journal.step(StepKind.IMAGE, "image: configuration ISO"):
            write_iso(settings, self.preparation.configuration(self.stages.secrets))
        remove_leftovers(self.home / "runs")
        if installed is None:
            installed = self._set_up(settings, evidence, accelerator)
        provisioned = self.stages.kept(PROVISIONED) if request.resume else None
        if provisioned is None or provisioned["digest"] != self.digest:
            provisioned = self._provision(settings, evidence, accelerator)
        with self.journal.step(StepKind.IMAGE, "image: seal"):
            draft = self._draft(evidence)
            if place.exists():  # `load` found it damaged, or it is provisioned again
                shutil.rmtree(place)
            content = manifest(self.preparation, self.digest, accelerator.value, installed, provisioned)
            return seal(draft, place, content)

    def _set_up(self, settings: Path, evidence: Path, accelerator: Accelerator) -> dict[str, Any]:
        """Windows Setup up to the first logon."""
        request = self.preparation.request
        assert request.iso
        media = (request.iso.resolve(), settings)
        spec = WindowsSpec(self.work, request.profile, accelerator, media=media)
        limits = Limits(stall=request.profile.install.stall, keys=KEYS_S[accelerator])
        with self._machine(spec, evidence) as machine:
            report = self._installed(machine, evidence, limits, STARTING, "")
            record = {**record_of(self.preparation, self.iso_sha256), "seconds": round(report.seconds)}
            self.stages.keep(SET_UP, machine.disk, self._nvram(machine), record)
        return record

    def _provision(self, settings: Path, evidence: Path, accelerator: Accelerator) -> dict[str, Any]:
        """From the disk that Setup left to the end of the self-check."""
        self.stages.forget(PROVISIONED)
        request = self.preparation.request
        spec = WindowsSpec(
            self.stages.folder,
            request.profile,
            accelerator,
            settings=settings,
            online=self.preparation.online,
        )
        limits = Limits(stall=request.profile.install.stall, keys=0)
        with self._machine(spec, evidence) as machine:
            report = self._installed(machine, evidence, limits, "image: start of the installed Windows", "p")
            record = {**report_record(report), "digest": self.digest}
            self.stages.keep(PROVISIONED, machine.disk, self._nvram(machine), record)
        return record

    def _draft(self, evidence: Path) -> Path:
        """The image's folder, not sealed yet: the disk in one file, without the one below it."""
        draft = self.work / "image"
        draft.mkdir()
        disk, nvram = self.stages.files(PROVISIONED)
        flatten(disk, draft / "base.qcow2", Deadline.after(FLATTEN_S))
        if nvram.exists():
            shutil.copyfile(nvram, draft / NVRAM)
        shutil.copytree(self.stages.secrets.folder, draft / "secrets")
        shutil.copytree(evidence, draft / "install")
        shutil.rmtree(evidence)
        return draft

    def _installed(
        self, machine: LibvirtMachine, evidence: Path, limits: Limits, first: str, pictures: str
    ) -> Report:
        request = self.preparation.request
        installation = Installation(
            machine,
            evidence,
            self.journal,
            limits,
            started=lambda: request.shown(machine.folder),
            first=first,
            pictures=pictures,
        )
        return installation.run(Deadline.after(request.profile.install.deadline))

    def _nvram(self, machine: LibvirtMachine) -> Path | None:
        uefi = self.preparation.request.profile.hardware.firmware == "uefi"
        return machine.folder / NVRAM if uefi else None

    @contextmanager
    def _machine(self, spec: WindowsSpec, evidence: Path) -> Iterator[LibvirtMachine]:
        """A machine of the build's own. If the block fails, the logs on its disk are copied out first."""
        with RunFolder.create(self.home / "runs") as folder, LibvirtMachine(folder, spec, None) as machine:
            try:
                yield machine
            except InfrastructureError as error:
                with suppress(InfrastructureError):
                    machine.stop(Deadline.after(STOP_S))
                self._rescue(machine.disk, evidence, error)
                raise

    def _rescue(self, disk: Path, evidence: Path, error: InfrastructureError) -> None:
        secrets = self.stages.secrets
        texts = [secrets.password, secrets.kd_key.read_text(encoding="ascii").strip()]
        if disk.exists():
            with self.journal.step(StepKind.IMAGE, "image: logs from the disk of the failed installation"):
                aftermath.collect(disk, evidence / "logs", texts, Deadline.after(COLLECT_S))
            if self.preparation.request.keep:
                shutil.move(disk, self.stages.failed)
                error.detail = f"disk: {self.stages.failed}\n{error.detail}"
        note_error(evidence, error)
        name = self.preparation.request.profile.name
        error.detail = f"to report it: winvm image report {name}\n{error.detail}"
