"""Builds a ReactOS image from a live CD: its files, Windows CPython and winvm's parts on one FAT32 disk.

No mount and no root. A build works in images/.reactos-<random>/ and renames the finished folder into place.
"""

from __future__ import annotations

import datetime
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.reactos.image import disk, iso, python
from harness.guests.reactos.image.recipe import read_parts
from harness.guests.reactos.image.sealed import UNFINISHED, ReactosImage, load, seal
from harness.guests.reactos.spec.profile import ReactosProfile, build_again
from harness.guests.windows.image.iso import readable_size
from harness.guests.windows.image.python import python_zip
from harness.host import confined
from harness.host.digest import file_sha256
from harness.host.locks import hold
from harness.host.private import private_folder
from harness.host.resources import guest_folder, vm_folder
from harness.images.base import images_folder
from harness.images.contained import ContainedTools
from harness.images.inputs import gather
from harness.images.recipe import folder_files, input_digest
from harness.journal import Journal, StepKind
from harness.machine.overlay import require_space

BUILD_S = 900.0
BESIDE = 4 << 30
"""Bytes that a build takes for a while: the CD's files, the raw disk, the image."""
_HIVE_S = 60.0


def build(profile: ReactosProfile, cd: Path, home: Path, journal: Journal) -> ReactosImage:
    """The image of this live CD: the one that is there, or a new one (half a minute).

    Raises:
        ConfigurationError: the file is no live CD that can be used.
        HostError: no disk space, a tool is missing.
        ImageError: a step of the build fails.
    """
    deadline = Deadline.after(BUILD_S)
    readable_size(cd, iso.WHICH)
    with journal.step(StepKind.IMAGE, "image: SHA-256 of the live CD"):
        sha256 = file_sha256(cd)
    digest = _digest(sha256, profile)
    images = private_folder(images_folder(private_folder(home)))
    place = images / f"{profile.name}-{digest[:12]}"
    with hold(
        lock_file(images), lambda: journal.note("waiting for another process that builds a ReactOS image")
    ):
        with suppress(ImageError):
            return load(place)
        require_space(images, BESIDE, "the build of a ReactOS image")
        for leftover in images.glob(f"{UNFINISHED}*"):
            shutil.rmtree(leftover)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=images))
        try:
            return _build(profile, cd, sha256, digest, work, place, home, journal, deadline)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def lock_file(images: Path) -> Path:
    """What the process that builds an image holds locked."""
    return images / ".lock-reactos"


def _digest(cd_sha256: str, profile: ReactosProfile) -> str:
    """Over everything that an image is made of."""
    files = folder_files(vm_folder() / "reactos", "recipe") | folder_files(Path(__file__).parent, "code")
    pins = folder_files(vm_folder() / "wine", "wine", "*.t*t") | folder_files(
        vm_folder() / "windows", "windows"
    )
    inputs = {"inputs": gather().seriald, "standby": (guest_folder() / "agent" / "standby.py").read_bytes()}
    hardware = json.dumps(profile.hardware.model_dump(mode="json"), sort_keys=True).encode()
    return input_digest({**files, **pins, **inputs, "iso": cd_sha256.encode(), "hardware": hardware})


def _build(
    profile: ReactosProfile,
    cd: Path,
    cd_sha256: str,
    digest: str,
    work: Path,
    place: Path,
    home: Path,
    journal: Journal,
    deadline: Deadline,
) -> ReactosImage:
    tree, draft = work / "tree", work / "image"
    draft.mkdir()
    with journal.step(StepKind.IMAGE, "image: files of the live CD"):
        media = iso.unpack(cd, tree, deadline)
    with journal.step(StepKind.IMAGE, "image: Windows Python, with what this system lacks"):
        downloads = home / "downloads"
        downloads.mkdir(exist_ok=True)
        archive = python_zip(downloads, ContainedTools(work / "tools.log", deadline))
        system = tree / iso.SYSTEM / "system32"
        left_out = python.install(archive, read_parts(), system, tree / "Python", work / "support")
    with journal.step(StepKind.IMAGE, "image: registry, winvm's parts"):
        change_registry(tree / iso.HIVE)
        add_winvm(tree)
    with journal.step(StepKind.IMAGE, "image: disk"):
        disk.write_disk(tree, draft / "base.qcow2", deadline)
    manifest = {
        "digest": digest,
        "profile": profile.name,
        "versions": {"reactos": media.version, "python": archive.name.split("-")[2]},
        "left_out": left_out,
        "iso": {"name": cd.name, "bytes": media.size, "sha256": cd_sha256},
        "built": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if place.exists():  # `load` found it damaged
        shutil.rmtree(place)
    return seal(draft, place, manifest)


def change_registry(hive: Path) -> None:
    """Puts vm/reactos/system.reg into the SYSTEM hive of a live CD.

    Raises:
        ImageError: the hive cannot be changed.
        HostError: hivexregedit is missing.
    """
    changes = (vm_folder() / "reactos" / "system.reg").read_bytes()
    confined.hand_over(hive)
    done = confined.run(
        ["hivexregedit", "--merge", str(hive)], Deadline.after(_HIVE_S), writes=[hive], stdin=changes
    )
    if done.code:
        raise ImageError(
            f"The guest's registry cannot be changed: hivexregedit ended with exit code {done.code}.",
            remedy=build_again("reactos-x64"),
            detail=done.said,
        )


def add_winvm(tree: Path) -> None:
    """Fills `C:\\winvm`: the serial endpoint, the standby interpreter, what starts them, the run's folder."""
    winvm = tree / "winvm"
    (winvm / "run").mkdir(parents=True)
    (winvm / "seriald.pyz").write_bytes(gather().seriald)
    shutil.copyfile(guest_folder() / "agent" / "standby.py", winvm / "standby.py")
    start = (vm_folder() / "reactos" / "guest" / "start.cmd").read_text(encoding="ascii")
    (winvm / "start.cmd").write_text(start, encoding="ascii", newline="\r\n")
