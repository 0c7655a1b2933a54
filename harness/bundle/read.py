"""Reads a crash bundle as untrusted input.

No member is used before the size and SHA-256 of every member match the manifest. Only the members that a
replay needs are written, into the run's own folder, under names that match the manifest's pattern. The
archive may only hold plain files, so that there is no link, device or extended header to interpret.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard
from pydantic import ValidationError

from harness.agent.protocol import quoted
from harness.bundle.manifest import (
    AGENT,
    COMPANIONS,
    FILES,
    JOURNAL,
    MANIFEST,
    MEMBER_LIMIT,
    PACKAGE,
    CompanionDriver,
    Manifest,
)
from harness.errors import BundleError, HostError
from harness.host.regular import open_regular

PACKED_LIMIT = 1 << 30
MANIFEST_LIMIT = 1 << 20
WINDOW_LIMIT = 8 << 20
"""Memory limit of decompression in bytes; a bundle from `write_bundle` needs 2 MiB."""
BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 18
REPLACE = "Copy the bundle again from the host that made it."


@dataclass(frozen=True)
class Bundle:
    """A bundle whose members match its manifest; `folder` holds the members that a replay needs."""

    file: Path
    folder: Path
    manifest: Manifest

    @property
    def agent(self) -> Path:
        """The zipapp. It is untrusted: it runs in the guest, never on this host."""
        return self.folder / AGENT

    @property
    def driver(self) -> Path:
        """The `.sys`; its PDB, if there is one, is in the same folder."""
        return self.folder / self.manifest.driver.member

    @property
    def inf(self) -> Path | None:
        """The INF that installs the driver; None for a plain service."""
        inf = self.manifest.driver.inf
        return self.folder / PACKAGE / inf if inf else None

    @property
    def files(self) -> dict[str, Path]:
        """Path below the guest's folder of files -> the file."""
        prefix = f"{FILES}/"
        names = (name for name in self.manifest.members if name.startswith(prefix))
        return {name.removeprefix(prefix): self.folder / name for name in names}

    def companion(self, driver: CompanionDriver) -> Path:
        """The `.sys` of another driver of the project."""
        return self.folder / driver.member

    @property
    def journal(self) -> Path:
        """The agent's write-ahead journal; the file may be missing."""
        return self.folder / JOURNAL


def unpack(file: Path, folder: Path) -> Bundle:
    """Checks a whole bundle and writes the members that a replay needs into `folder`, which is created.

    Raises:
        BundleError: the file is not a bundle, is damaged, or holds something that a bundle may not hold.
        HostError: `folder` cannot be written to.
    """
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        with open_regular(file) as packed:
            manifest = _take(_Archive(file, packed), folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if str(error.filename) == str(file):
            raise BundleError(
                f"The bundle {file} cannot be read: {error.strerror}.",
                remedy="Name a crash-*.tar.zst file.",
            ) from error
        raise HostError(
            f"The bundle {file} cannot be unpacked into {folder}: {error.strerror}.",
            remedy="Free disk space.",
        ) from error
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Bundle(file, folder, manifest)


class _Archive:
    """The unpacked stream of a bundle, with a limit on its bytes."""

    def __init__(self, file: Path, packed: BinaryIO) -> None:
        self._file = file
        if file.stat().st_size > PACKED_LIMIT:
            raise self.refuse("the file", f"is larger than the {PACKED_LIMIT} bytes that a bundle may have")
        self._left = MEMBER_LIMIT + (1 << 22)  # headers and padding
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT)
        self._stream = decompressor.stream_reader(packed, read_size=CHUNK, closefd=False)

    def refuse(self, member: str, reason: str) -> BundleError:
        """An error about one member."""
        return BundleError(f"{self._file}: {member} {reason}.", remedy=REPLACE)

    def header(self) -> tarfile.TarInfo | None:
        """The header of the next member; None at the end of the archive."""
        block = self.read(BLOCK, "the next member's header")
        if not any(block):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.TarError, ValueError) as error:
            raise self.refuse("a member's header", f"is damaged ({error})") from error
        if info.type != tarfile.REGTYPE:
            raise self.refuse(quoted(info.name.encode()), "is not a plain file")
        return info

    def content(self, name: str, size: int, target: BinaryIO | None = None) -> str:
        """Reads a member's content and padding, into `target` if there is one; returns its SHA-256 (hex)."""
        digest = hashlib.sha256()
        for start in range(0, size, CHUNK):
            piece = self.read(min(CHUNK, size - start), name)
            digest.update(piece)
            if target:
                target.write(piece)
        self.read(-size % BLOCK, name)
        return digest.hexdigest()

    def read(self, size: int, what: str) -> bytes:
        """Reads exactly `size` bytes."""
        self._left -= size
        if self._left < 0:
            raise self.refuse(what, f"exceeds the {MEMBER_LIMIT} bytes that a bundle may unpack to")
        data = b""
        try:
            while len(data) < size and (more := self._stream.read(size - len(data))):
                data += more
        except zstandard.ZstdError as error:
            raise self.refuse(what, f"cannot be decompressed ({error})") from error
        if len(data) < size:
            raise self.refuse(what, "is truncated")
        return data


def _take(archive: _Archive, folder: Path) -> Manifest:
    manifest = _manifest(archive)
    driver = manifest.driver.member
    needed = {AGENT, driver, driver.removesuffix(".sys") + ".pdb", JOURNAL}
    missing = {*manifest.members, AGENT, driver, *(other.member for other in manifest.companions)}
    folder.mkdir(parents=True)
    while info := archive.header():
        shown = quoted(info.name.encode())
        member = manifest.members.get(info.name)
        if member is None:
            raise archive.refuse(shown, "is not in the manifest")
        if info.name not in missing:
            raise archive.refuse(shown, "is in the archive twice")
        if info.size != member.size:
            raise archive.refuse(shown, f"has {info.size} bytes, but {member.size} in the manifest")
        if info.name in needed or info.name.partition("/")[0] in (PACKAGE, FILES, COMPANIONS):
            place = folder / info.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as target:
                digest = archive.content(shown, info.size, target)
        else:
            digest = archive.content(shown, info.size)
        if digest != member.sha256:
            raise archive.refuse(shown, "has another SHA-256 than in the manifest")
        missing.remove(info.name)
    if missing:
        raise archive.refuse(f"{min(missing)!r}", "is missing")
    return manifest


def _manifest(archive: _Archive) -> Manifest:
    info = archive.header()
    if info is None or info.name != MANIFEST:
        raise archive.refuse("its first member", f"is not {MANIFEST}: this is not a crash bundle")
    if info.size > MANIFEST_LIMIT:
        raise archive.refuse(MANIFEST, f"has {info.size} bytes, more than {MANIFEST_LIMIT}")
    text = io.BytesIO()
    archive.content(MANIFEST, info.size, text)
    try:
        manifest = Manifest.model_validate_json(text.getvalue())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        if first["loc"] == ("schema",):
            raise BundleError(
                f"The bundle's manifest has a schema that this winvm does not support ({first['msg']}).",
                remedy="Use the winvm that made it, or a newer one.",
            ) from error
        raise archive.refuse(MANIFEST, f"cannot be used: {quoted(wrong.encode())}") from error
    if sum(member.size for member in manifest.members.values()) > MEMBER_LIMIT:
        raise archive.refuse(MANIFEST, f"lists more than {MEMBER_LIMIT} bytes of members")
    return manifest
