"""The evidence of an installation, and the one archive of it that a person attaches to a bug report.

installations/<profile>/    of the installation under way, or of the last one that failed
    journal.jsonl screenshots/ last.png     what was seen from outside the guest
    logs/                                   what was on its disk
    error.json                              the message, the remedy and the detail
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, WinvmError
from harness.images.base import images_folder

ERROR = "error.json"
FACTS = "facts.json"
SCREENSHOTS = "screenshots"
KEPT_SCREENSHOTS = 30
"""The last ones go into the archive: one a minute is taken."""
FILE_LIMIT, FILES_LIMIT, WHOLE_LIMIT = 64 << 20, 500, 512 << 20
"""Bytes of one file, number of files, bytes of all: a hostile guest's logs fill neither memory nor disk."""
SECRET_FILES = ("password", "kd.key")
MASK = "***"


def evidence_folder(home: Path, profile: str) -> Path:
    """Where an installation under way, or the last one that failed, keeps what was seen of it."""
    return home / "installations" / profile


def note_error(folder: Path, error: WinvmError) -> None:
    """Writes what ended an installation beside its evidence."""
    said = {"error": error.message, "remedy": error.remedy, "detail": error.detail}
    (folder / ERROR).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def without(content: bytes, secrets: Sequence[str]) -> bytes:
    """Content in which each secret, as ASCII or as UTF-16, is replaced by `***`."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for encoding in ("ascii", "utf-16-le"):
            content = content.replace(secret.encode(encoding), MASK.encode(encoding))
    return content


def pack(home: Path, profile: str, target: Path, facts: Mapping[str, Any]) -> list[str]:
    """Writes the archive of a profile's evidence, a zip; returns the names in it.

    Every file goes through `without`, with the secrets of all images of this home.

    Raises:
        ConfigurationError: there is no evidence, or the archive cannot be written.
    """
    folder = evidence_folder(home, profile)
    files = list(_files(folder))
    if not files:
        raise ConfigurationError(
            f"There is no evidence of an installation of {profile}: {folder} is missing or empty.",
            remedy="It is kept when an installation fails. Name the profile: winvm image report NAME",
        )
    secrets = list(_secrets(home))
    packed = {FACTS: json.dumps(facts, indent=1).encode()}
    packed |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    try:
        with (
            open(target, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, content in packed.items():
                archive.writestr(name, without(content, secrets))
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written: {error.strerror}.", remedy="Name a new file: --output FILE"
        ) from error
    return sorted(packed)


def _files(folder: Path) -> Iterator[Path]:
    """Files worth sending; links are not followed."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    pictures = [path for path in found if path.parent.name == SCREENSHOTS]
    old = set(sorted(pictures, key=lambda path: path.stat().st_mtime)[:-KEPT_SCREENSHOTS])
    left, whole = FILES_LIMIT, 0
    for path in found:
        size = path.stat().st_size
        if path in old or size > FILE_LIMIT or not left or whole + size > WHOLE_LIMIT:
            continue
        left, whole = left - 1, whole + size
        yield path


def _secrets(home: Path) -> Iterator[str]:
    images = images_folder(home)
    for folder in [*images.glob("*/secrets"), *images.glob("*/*/secrets")]:
        for name in SECRET_FILES:
            try:
                yield (folder / name).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
