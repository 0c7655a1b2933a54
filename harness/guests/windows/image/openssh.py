"""Win32-OpenSSH out of its release's zip, for Windows versions that do not include an SSH server.

The zip is the one that Microsoft's project publishes (OpenSSH-Win64.zip): one folder with sshd.exe and its
programs. It is not trusted: its entries are bounded, and nothing of it is run on the host.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import ConfigurationError

FOLDER = "openssh"
NEEDED = ("sshd.exe", "sftp-server.exe", "install-sshd.ps1")
ENTRIES_LIMIT = 200
BYTES_LIMIT = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_REMEDY = "Name the OpenSSH-Win64.zip of a release of Win32-OpenSSH: --openssh PATH."


def read_openssh(path: Path) -> Mapping[str, bytes]:
    """File name -> content of the zip's one folder.

    Raises:
        ConfigurationError: it cannot be read, is too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > ENTRIES_LIMIT or sum(entry.file_size for entry in entries) > BYTES_LIMIT:
                raise ConfigurationError(f"{path} is too large for OpenSSH's programs.", remedy=_REMEDY)
            found = {entry.filename.rpartition("/")[2]: archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ConfigurationError(f"{path} cannot be read as a zip: {error}.", remedy=_REMEDY) from error
    strange = [name for name in found if not _NAME.fullmatch(name)]
    if strange:
        raise ConfigurationError(f"{path} holds a file called {strange[0]!r}.", remedy=_REMEDY)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ConfigurationError(f"{path} holds no {', '.join(missing)}.", remedy=_REMEDY)
    return found
