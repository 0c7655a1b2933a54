"""Reads an installation ISO: its install.wim or install.esd, and the editions in that. No mount, no root.

Windows media are UDF with an ISO 9660 side that holds only a README, because install.wim is larger than
ISO 9660 takes. pycdlib reads both.
"""

from __future__ import annotations

import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.guests.windows.image.bounded import AGAIN, FileRefusedError, answer, ask
from harness.guests.windows.image.wim import WimError, WimImage, read_images

NAMES = ("install.wim", "install.esd")
FOLDER = "/sources"
_SECTOR = 2048
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


def read_media(iso: Path, deadline: Deadline) -> Media:
    """What `iso` holds.

    Raises:
        ConfigurationError: it is not an installation ISO of Windows, or it is damaged or truncated.
        HostError: it cannot be read by this user.
        DeadlineError: it was not read in time.
    """
    size = readable_size(iso, _WHICH)
    found = ask(__name__, iso, [], deadline)
    images = tuple(WimImage(**{**image, "languages": tuple(image["languages"])}) for image in found["images"])
    return Media(iso, size, found["file"], images)


def readable_size(file: Path, remedy: str) -> int:
    """Bytes of a file that the user named.

    Raises:
        ConfigurationError: there is no such file.
        HostError: this user may not read it.
    """
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be found: {error.strerror}.", remedy=remedy) from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{file} is not a file.", remedy=remedy)
    if not os.access(file, os.R_OK):
        raise HostError(f"{file} may not be read by this user.", remedy=f"Run: chmod u+r {file}")
    return found.st_size


def opened(path: str) -> pycdlib.PyCdlib:
    """The ISO, for the process that parses it.

    Raises:
        FileRefusedError: it is not an ISO, or not a whole one.
    """
    iso = pycdlib.PyCdlib()
    try:
        iso.open(path)
    except PyCdlibException as error:
        raise FileRefusedError(
            f"is not an ISO image that can be read: {error}", f"{_WHICH} {AGAIN}"
        ) from error
    sectors = [iso.pvd.space_size]
    if iso.has_udf():
        sectors += [part.part_start_location + part.part_length for part in iso.udf_main_descs.partitions]
    size, wanted = Path(path).stat().st_size, max(sectors) * _SECTOR
    if wanted > size:
        raise FileRefusedError(f"is truncated: it has {size} bytes of the {wanted} that it claims", AGAIN)
    return iso


def names_in(iso: pycdlib.PyCdlib, **where: str) -> list[str]:
    """Names of the files in one folder, as they are in the ISO; none when there is no such folder."""
    try:
        children = [child for child in iso.list_children(**where) if child is not None and child.is_file()]
    except PyCdlibException:
        return []
    encoding = "utf-16-be" if "joliet_path" in where else "utf-8"
    return [child.file_identifier().decode(encoding, "replace") for child in children]


def _examine(arguments: list[str]) -> dict[str, Any]:
    iso = opened(arguments[0])
    key, folder = ("udf_path", FOLDER) if iso.has_udf() else ("iso_path", FOLDER.upper())
    name = _install_image(names_in(iso, **{key: folder}))
    try:
        with iso.open_file_from_iso(**{key: f"{folder}/{name}"}) as file:
            images = read_images(file, file.length())
    except WimError as error:
        raise FileRefusedError(f"holds an {_plain(name)} that cannot be used: {error}", AGAIN) from error
    return {"file": _plain(name), "images": [asdict(image) for image in images]}


def _install_image(names: list[str]) -> str:
    for wanted in NAMES:
        for name in names:
            if _plain(name) == wanted:
                return name
    if any(_plain(name).endswith(".swm") for name in names):
        raise FileRefusedError(
            "holds an install.wim that is split into .swm parts",
            "Join them (wimlib-imagex join) into sources/install.wim of a new ISO, or take the original ISO.",
        )
    raise FileRefusedError(f"holds neither sources/{NAMES[0]} nor sources/{NAMES[1]}", _WHICH)


def _plain(name: str) -> str:
    """In lower case, without ISO 9660's version."""
    return name.partition(";")[0].lower()


if __name__ == "__main__":
    answer(_examine)
