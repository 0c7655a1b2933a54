"""The files that the settings name, on the system disk: their paths, digests and thumbprints."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from provision.machine import Machine, ProvisionError
from provision.settings import Settings

BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Supplied:
    """Files in `folder`. Their content is kept in memory: secret files are removed before the last check."""

    folder: str
    contents: Mapping[str, bytes] = field(repr=False)

    def path(self, name: str) -> str:
        """Where a file or a folder lies."""
        return rf"{self.folder}\{name}"

    def sha256(self, name: str) -> str:
        """Of a file's content, in hexadecimal."""
        return hashlib.sha256(self.contents[name]).hexdigest()

    def thumbprint(self, name: str) -> str:
        """SHA-1 of the DER form of a PEM or DER certificate, in lower-case hexadecimal, as in Windows."""
        content = self.contents[name]
        if BEGIN in content:
            content = base64.b64decode(content.partition(BEGIN)[2].partition(END)[0])
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def supplied(settings: Settings, folder: str, machine: Machine) -> Supplied:
    """Reads the files that the settings name; the OpenSSH folder is not read.

    Raises:
        ProvisionError: one is missing.
    """
    contents = {}
    for name in settings.files:
        content = machine.read_file(rf"{folder}\{name}")
        if content is None:
            raise ProvisionError(f"the settings name the file {name}, which is missing in {folder}")
        contents[name] = content
    return Supplied(folder, contents)
