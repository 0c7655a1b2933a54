"""The configuration ISO: the second CD, with the answer file in its root and all that the first logon needs.

    autounattend.xml      Setup looks for it in the root of every CD
    winvm/                start.cmd, configuration.cmd, python.zip, provision.pyz, provision.json and what
                          it names
    winvm/openssh/        only where Windows has no SSH server of its own
    drivers/<driver>/     only for virtio hardware

It holds the image's secrets: mode 0600, and removed when the image is sealed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pycdlib

from harness.guests.windows.image.answer import DRIVERS
from harness.guests.windows.image.openssh import FOLDER as OPENSSH
from harness.guests.windows.image.provisioning import PROGRAM
from harness.host.resources import vm_folder

ANSWER_FILE = "autounattend.xml"
LABEL = "WINVM"
SCRIPTS = ("start.cmd", "configuration.cmd")
"""In vm/windows/."""
_FOLDER = "winvm"
_JOLIET_LIMIT = 64
"""Characters of the longest name that every reader of Joliet accepts."""


def contents(
    answer: str,
    python: bytes,
    program: bytes,
    settings: Mapping[str, bytes],
    openssh: Mapping[str, bytes],
    drivers: Mapping[str, bytes],
) -> dict[str, bytes]:
    """Path in the ISO -> content."""
    found = {
        ANSWER_FILE: answer.encode("utf-8"),
        f"{_FOLDER}/python.zip": python,
        f"{_FOLDER}/{PROGRAM}": program,
    }
    for name in SCRIPTS:
        script = (vm_folder() / "windows" / name).read_text(encoding="ascii")
        found[f"{_FOLDER}/{name}"] = script.replace("\n", "\r\n").encode("ascii")  # else cmd.exe loses labels
    found |= {f"{_FOLDER}/{name}": content for name, content in settings.items()}
    found |= {f"{_FOLDER}/{OPENSSH}/{name}": content for name, content in openssh.items()}
    return found | {f"{DRIVERS}/{name}": content for name, content in drivers.items()}


def write_iso(target: Path, files: Mapping[str, bytes]) -> None:
    """Writes `files` as a new ISO with Joliet names, which nobody else may read.

    Raises:
        ValueError: a name is longer than Joliet takes.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=1, joliet=3, vol_ident=LABEL)
    places: dict[str, str] = {"": ""}  # folder -> its ISO 9660 path
    for number, folder in enumerate(_folders(files)):
        parent, _, name = folder.rpartition("/")
        places[folder] = f"{places[parent]}/D{number}"
        iso.add_directory(places[folder], joliet_path=f"/{_checked(folder, name)}")
    for number, (path, content) in enumerate(files.items()):
        parent, _, name = path.rpartition("/")
        # Windows reads the Joliet names. The ISO 9660 names only have to exist and be short.
        plain = f"{places[parent]}/F{number}.;1"
        iso.add_fp(io.BytesIO(content), len(content), plain, joliet_path=f"/{_checked(path, name)}")
    with open(target, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        iso.write_fp(file)
    iso.close()


def listing(files: Mapping[str, bytes]) -> str:
    """What the ISO holds, a line each: bytes and path."""
    return "".join(f"{len(content):>12}  {path}\n" for path, content in sorted(files.items()))


def _folders(files: Mapping[str, bytes]) -> Iterator[str]:
    """Every folder of the paths, parents first."""
    found = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    yield from sorted(found - {"."}, key=lambda folder: (folder.count("/"), folder))


def _checked(path: str, name: str) -> str:
    if len(name) > _JOLIET_LIMIT:
        raise ValueError(f"{path!r} has a name of more than {_JOLIET_LIMIT} characters")
    return path
