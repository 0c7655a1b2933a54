"""libvirt's save file of a domain: reads which domain was saved, and copies the file for another domain.

libvirt restores a save file only to a domain of the name and uuid that it was saved from; QEMU's own state,
which follows, has neither. Domains of a daemon must differ in both, so each machine there restores a copy
that holds its own name and uuid. Both have the lengths of the saved ones, so nothing else in the file moves.

Layout (libvirt 11.3, src/qemu/qemu_saveimage.h): a header of 92 bytes in the machine's byte order, of which
the first fields are magic[16], version, data_len; then data_len bytes: the domain's XML, ended by a zero
byte, libvirt's cookie, padding.
"""

from __future__ import annotations

import os
import re
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.host import programs

SAVE_MAGIC = b"LibvirtQemudSave"
"""First bytes of a whole save file; one that was cut short begins with `LibvirtQemudPart`."""
VERSION = 2
LARGEST_XML = 1 << 20
"""Bytes; the domains of this bench have 4 KiB, libvirt pads them to 64."""

_HEADER = struct.Struct("=16sII68x")
_NAME = re.compile(rb"<name>([^<]+)</name>")
_UUID = re.compile(rb"<uuid>([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})</uuid>")
_MADE_AGAIN = "Start a guest, which makes the saved state again; if the error comes back, run: winvm doctor"


@dataclass(frozen=True)
class Identity:
    """Name and uuid of a libvirt domain."""

    name: str
    uuid: uuid.UUID


def identity(file: Path) -> Identity:
    """Name and uuid of the domain that was saved.

    Raises:
        MachineError: it is no save file that this module understands.
    """
    (name, _), (unique, _) = _found(file)
    return Identity(name.decode("utf-8", "replace"), uuid.UUID(unique.decode("ascii")))


def copy_for(source: Path, target: Path, wanted: Identity, deadline: Deadline) -> None:
    """Copies `source` to `target`, mode 0600, as the saved state of the domain `wanted`.

    Holes stay holes; on a file system that can share blocks, the copy shares them.

    Raises:
        MachineError: `source` is no save file, its domain's name has another length, or the disk is full.
        DeadlineError: copying takes too long.
    """
    (name, name_at), (unique, uuid_at) = _found(source)
    own_name, own_uuid = wanted.name.encode(), str(wanted.uuid).encode()
    if (len(name), len(unique)) != (len(own_name), len(own_uuid)):
        raise MachineError(
            f"{source} was saved from a domain called {name!r}; {wanted.name} has another length.",
            remedy=_MADE_AGAIN,
        )
    target.unlink(missing_ok=True)
    command = ["cp", "--reflink=auto", "--sparse=auto", "--", str(source), str(target)]
    done = programs.run(command, deadline)
    if done.code:
        raise MachineError(
            f"{source} cannot be copied to {target}: {done.said}.", remedy="Free some disk space."
        )
    target.chmod(0o600)
    with target.open("r+b") as file:
        for at, text in ((name_at, own_name), (uuid_at, own_uuid)):
            file.seek(at)
            file.write(text)


def _found(file: Path) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    """Name and uuid of the saved domain, each with its offset in the file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            start = os.pread(descriptor, _HEADER.size + LARGEST_XML, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MachineError(f"{file} cannot be read: {error.strerror}.", remedy=_MADE_AGAIN) from error
    if len(start) < _HEADER.size:
        raise MachineError(f"{file} is no libvirt save file: it is too short.", remedy=_MADE_AGAIN)
    magic, version, length = _HEADER.unpack_from(start)
    if (magic, version) != (SAVE_MAGIC, VERSION) or not 0 < length <= LARGEST_XML:
        raise MachineError(
            f"{file} is no libvirt save file of version {VERSION}: it begins with {start[:24]!r}.",
            remedy=_MADE_AGAIN,
        )
    xml = start[_HEADER.size : _HEADER.size + length].split(b"\0", 1)[0]
    # libvirt writes the domain's own name and uuid before any element that may hold other ones.
    name, unique = _NAME.search(xml), _UUID.search(xml)
    if not name or not unique:
        raise MachineError(f"{file} does not say which domain it was saved from.", remedy=_MADE_AGAIN)
    return _at(name), _at(unique)


def _at(match: re.Match[bytes]) -> tuple[bytes, int]:
    return match[1], _HEADER.size + match.start(1)
