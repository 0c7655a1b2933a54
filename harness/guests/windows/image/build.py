"""Builds a Windows image: prepared, installed on a machine of its own, sealed.

Several processes may build images of different profiles at once; of one profile, one at a time. A build works
in images/.install-<profile>-<random>/ and renames the finished folder into place: an image is either
complete or absent. The next build, or the next run (`harness.run.prune`), removes the folder and the machine
of a killed build. The evidence of an installation that failed stays in installations/<profile>/.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.windows.image.configuration import write_iso
from harness.guests.windows.image.credentials import make_windows_secrets
from harness.guests.windows.image.installation import Installation, Limits, Report
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.preparation import Preparation, Request, prepare
from harness.guests.windows.image.sealed import (
    UNFINISHED,
    WindowsImage,
    load,
    lock_file,
    seal,
    settings_digest,
)
from harness.guests.windows.spec.domain import NVRAM, WindowsSpec
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.host.private import private_folder
from harness.images.base import images_folder
from harness.journal import Journal, StepKind
from harness.machine.accelerator import Accelerator, choose_accelerator
from harness.machine.leftovers import remove_leftovers
from harness.machine.machine import LibvirtMachine
from harness.machine.overlay import require_space
from harness.machine.runfolder import RunFolder

PROBE_S = 30.0
BESIDE_WINDOWS = 8 << 30
"""Bytes that an installation takes beside the files of install.wim: page file, component store, logs."""
KEYS_S = {Accelerator.KVM: 20.0, Accelerator.TCG: 150.0}
"""How long the firmware may take to ask for a key. Setup shows its first page later than that."""


def build(request: Request, home: Path, journal: Journal) -> WindowsImage:
    """The image that the request asks for: the sealed one, or a new one (an hour or so under KVM).

    Raises:
        ConfigurationError: a file that the request names cannot be used.
        HostError: no disk space, a tool is missing.
        ImageError: the installation failed; its evidence is in installations/<profile>/.
        MachineError, DeadlineError: likewise.
    """
    preparation = prepare(request, home, journal)
    with journal.step(StepKind.IMAGE, "image: SHA-256 of the installation ISO"):
        iso_sha256 = file_sha256(request.iso)
    digest = preparation.digest(iso_sha256)
    profile, images = request.profile.name, images_folder(home)
    place = images / f"{profile}-{digest[:12]}"
    private_folder(home)
    private_folder(images)
    with hold(
        lock_file(images, profile),
        lambda: journal.note(f"waiting for another process that is installing {profile}"),
    ):
        with suppress(ImageError):
            return load(place)
        for leftover in images.glob(f"{UNFINISHED}{profile}-*"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{profile}-", dir=images))
        try:
            with journal.step(StepKind.IMAGE, f"image: install {profile}", digest=digest):
                return _install(preparation, iso_sha256, digest, home, work, place, journal)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def evidence_folder(home: Path, profile: str) -> Path:
    """Where an installation under way, or the last one that failed, keeps its journal and screenshots."""
    return home / "installations" / profile


def _install(
    preparation: Preparation,
    iso_sha256: str,
    digest: str,
    home: Path,
    work: Path,
    place: Path,
    journal: Journal,
) -> WindowsImage:
    request = preparation.request
    require_space(work, preparation.choice.image.size + BESIDE_WINDOWS, "the installation of Windows")
    accelerator = choose_accelerator(home / "accelerator.json", Deadline.after(PROBE_S)).accelerator
    if accelerator is Accelerator.TCG:
        journal.warn("without KVM the processor is emulated: Windows may take longer than the profile allows")
    draft = work / "image"
    draft.mkdir()
    with journal.step(StepKind.IMAGE, "image: configuration ISO"):
        settings = work / "configuration.iso"
        write_iso(settings, preparation.configuration(make_windows_secrets(draft / "secrets")))
    evidence = evidence_folder(home, request.profile.name)
    shutil.rmtree(evidence, ignore_errors=True)
    evidence.mkdir(parents=True)
    spec = WindowsSpec(
        work, request.profile, accelerator, media=(request.iso.resolve(), settings), online=preparation.online
    )
    remove_leftovers(home / "runs")
    with RunFolder.create(home / "runs") as folder, LibvirtMachine(folder, spec, None) as machine:
        install = request.profile.install
        limits = Limits(stall=install.stall, keys=KEYS_S[accelerator])
        installation = Installation(
            machine, evidence, journal, limits, started=lambda: request.shown(machine.folder)
        )
        report = installation.run(Deadline.after(install.deadline))
        shutil.move(machine.disk, draft / "base.qcow2")
        if request.profile.hardware.firmware == "uefi":
            shutil.move(machine.folder / NVRAM, draft / NVRAM)
    shutil.move(evidence, draft / "install")
    with journal.step(StepKind.IMAGE, "image: seal"):
        if place.exists():  # `load` found it damaged
            shutil.rmtree(place)
        return seal(draft, place, _manifest(preparation, iso_sha256, digest, accelerator, report))


def _manifest(
    preparation: Preparation, iso_sha256: str, digest: str, accelerator: Accelerator, report: Report
) -> dict[str, Any]:
    profile, choice = preparation.request.profile, preparation.choice
    image, media = choice.image, preparation.media
    now = datetime.datetime.now(datetime.UTC)
    return {
        "digest": digest,
        "profile": profile.name,
        "settings": settings_digest(profile),
        "edition": image.edition,
        "firmware": profile.hardware.firmware,
        "runs_out": _runs_out(choice, now),
        "versions": {
            "windows": f"10.0.{image.build}.{max(image.revision, 0)}",
            "edition": image.edition,
            "python": preparation.python.name.split("-")[2],
        },
        "iso": {"name": media.iso.name, "bytes": media.size, "sha256": iso_sha256},
        "image": {**asdict(image), "languages": list(image.languages), "file": media.file},
        "openssh": preparation.ssh,
        "drivers": sorted({name.partition("/")[0] for name in preparation.drivers}),
        "accelerator": accelerator.value,
        "built": now.isoformat(timespec="seconds"),
        "seconds": round(report.seconds),
        "checks": [
            {"step": check.step, "setting": check.setting, "state": check.state, "found": check.found}
            for check in report.checks
        ],
    }


def _runs_out(choice: Choice, installed: datetime.datetime) -> str:
    """The last day of an evaluation, as ISO 8601 has it; empty if it is no evaluation."""
    days = choice.evaluation_days
    return (installed + datetime.timedelta(days=days)).date().isoformat() if days else ""
