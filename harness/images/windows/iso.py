"""Reads an installation ISO: its install.wim or install.esd, and the editions in that. No mount, no root.

Windows media are UDF with an ISO 9660 side that holds only a README, because install.wim is larger than
ISO 9660 takes. pycdlib reads both. It and the XML parser run in a process of their own with bounded memory
and processor time, since a crafted ISO may lead any parser astray: python -m harness.images.windows.iso PATH.
"""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.images.windows.wim import WimError, WimImage, read_images

NAMES = ("install.wim", "install.esd")
FOLDER = "/sources"
MEMORY_LIMIT = 1 << 30
CPU_SECONDS = 60
OUTPUT_LIMIT = 1 << 20
_SECTOR = 2048
_AGAIN = "Download the ISO again and compare its SHA-256 with the one its publisher gives."
_WHICH = "Name an installation ISO of Windows: --iso PATH."


@dataclass(frozen=True)
class Media:
    """What an installation ISO holds.

    Attributes:
        iso: the file. size: its bytes.
        file: `install.wim` or `install.esd`.
        images: the editions in it.
    """

    iso: Path
    size: int
    file: str
    images: tuple[WimImage, ...]


class _RefusedError(Exception):
    """The ISO cannot be installed from: the reason, and the remedy."""


def read_media(iso: Path, deadline: Deadline) -> Media:
    """What `iso` holds.

    Raises:
        ConfigurationError: it is not an installation ISO of Windows, or it is damaged or truncated.
        HostError: it cannot be read by this user.
        DeadlineError: it was not read in time.
    """
    size = _size(iso)
    deadline.check(f"Reading {iso}")
    command = [sys.executable, "-m", "harness.images.windows.iso", str(iso.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=deadline.remaining(), check=False)
    except subprocess.TimeoutExpired:
        deadline.check(f"Reading {iso}")
        raise
    try:
        found = json.loads(done.stdout[:OUTPUT_LIMIT])
    except ValueError:
        raise ConfigurationError(
            f"{iso} cannot be read as an ISO: reading it ended with exit code {done.returncode}.",
            remedy=_AGAIN,
            detail=done.stderr.decode(errors="replace").strip()[-200:].rpartition("\n")[2],
        ) from None
    if "reason" in found:
        raise ConfigurationError(f"{iso} {found['reason']}.", remedy=found["remedy"])
    images = tuple(WimImage(**{**image, "languages": tuple(image["languages"])}) for image in found["images"])
    return Media(iso, size, found["file"], images)


def _size(iso: Path) -> int:
    try:
        found = iso.stat()
    except OSError as error:
        raise ConfigurationError(f"{iso} cannot be found: {error.strerror}.", remedy=_WHICH) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{iso} is not a file.", remedy=_WHICH)
    if not os.access(iso, os.R_OK):
        raise HostError(f"{iso} may not be read by this user.", remedy=f"Run: chmod u+r {iso}")
    return found.st_size


def _limit() -> None:
    """Bounds this process: a parser that a crafted ISO leads astray ends, and takes nobody with it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


def _examine(path: str) -> dict[str, object]:
    """The child's work; runs in bounds, and what it prints is all that the parent believes."""
    iso = pycdlib.PyCdlib()
    try:
        iso.open(path)
    except PyCdlibException as error:
        raise _RefusedError(f"is not an ISO image that can be read: {error}", f"{_WHICH} {_AGAIN}") from error
    size = Path(path).stat().st_size
    _require_whole(iso, size)
    where = {"udf_path": FOLDER} if iso.has_udf() else {"iso_path": FOLDER.upper()}
    name, key = _find(iso, where)
    try:
        with iso.open_file_from_iso(**{key: name}) as file:
            images = read_images(file, file.length())
    except WimError as error:
        raise _RefusedError(f"holds a {_plain(name)} that cannot be used: {error}", _AGAIN) from error
    return {"file": _plain(name), "images": [asdict(image) for image in images]}


def _require_whole(iso: pycdlib.PyCdlib, size: int) -> None:
    """Refuses an ISO that is shorter than its own volume descriptors say."""
    sectors = [iso.pvd.space_size]
    if iso.has_udf():
        sectors += [part.part_start_location + part.part_length for part in iso.udf_main_descs.partitions]
    wanted = max(sectors) * _SECTOR
    if wanted > size:
        raise _RefusedError(f"is truncated: it has {size} bytes of the {wanted} that it claims", _AGAIN)


def _find(iso: pycdlib.PyCdlib, where: dict[str, str]) -> tuple[str, str]:
    """Path of the install image, and pycdlib's keyword for it."""
    key, folder = next(iter(where.items()))
    try:
        children = [child for child in iso.list_children(**where) if child is not None and child.is_file()]
    except PyCdlibException:
        children = []
    names = [child.file_identifier().decode("utf-8", "replace") for child in children]
    for wanted in NAMES:
        for name in names:
            if _plain(name) == wanted:
                return f"{folder}/{name}", key
    parts = [name for name in names if _plain(name).endswith(".swm")]
    if parts:
        raise _RefusedError(
            "holds an install.wim that is split into .swm parts",
            "Join them (wimlib-imagex join) into sources/install.wim of a new ISO, or take the original ISO",
        )
    raise _RefusedError(f"holds neither sources/{NAMES[0]} nor sources/{NAMES[1]}", _WHICH)


def _plain(path: str) -> str:
    """The file's name without folder and ISO 9660 version, in lower case."""
    return path.rpartition("/")[2].partition(";")[0].lower()


if __name__ == "__main__":
    _limit()
    try:
        answer = _examine(sys.argv[1])
    except _RefusedError as refused:
        answer = {"reason": refused.args[0], "remedy": refused.args[1]}
    print(json.dumps(answer))
