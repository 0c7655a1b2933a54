"""The saved 'ready' state on disk: RAM and disk of a guest that answers. `ready.py` makes it.

It lives in `images/<image>/ready-<key12>/`: `memory.save` (libvirt save file), `disk.qcow2` (overlay of
`../base.qcow2` as it was at the save), `manifest.json` with their digests; all read-only. The folder is made
beside its place and renamed into it, so a killed build leaves no half state.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.host.digest import file_sha256, is_unchanged
from harness.machine.overlay import QCOW2_MAGIC
from harness.machine.savefile import SAVE_MAGIC

MEMORY, DISK, MANIFEST = "memory.save", "disk.qcow2", "manifest.json"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    size: int
    sha256: str


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    facts: dict[str, str]
    files: dict[str, _File]


@dataclass(frozen=True)
class ReadyState:
    """A sealed ready state.

    key: of `MachineSpec.ready_key`. facts: what `wait_ready` found out about the guest that is now saved,
    e.g. the ids of a command that waits in it.
    """

    folder: Path
    key: str
    facts: Mapping[str, str]
    inode: int = 0
    """Inode of the memory file: distinguishes states that have the same key."""

    @property
    def memory(self) -> Path:
        """libvirt's save file."""
        return self.folder / MEMORY

    @property
    def disk(self) -> Path:
        """The disk as it was at the save; runs use overlays of it."""
        return self.folder / DISK

    @property
    def size(self) -> int:
        """Bytes of both files on the disk; the memory file is sparse."""
        return sum(file.stat().st_blocks * 512 for file in (self.memory, self.disk))

    @classmethod
    def find(cls, image: Path, key: str) -> Self | None:
        """The ready state of that key if it is whole; files are read only if their inodes changed."""
        folder = image / f"ready-{key}"
        try:
            manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            whole = (
                manifest.key == key
                and set(manifest.files) == {MEMORY, DISK}
                and all((folder / name).stat().st_size == file.size for name, file in manifest.files.items())
                and _starts_with(folder / MEMORY, SAVE_MAGIC)
                and _starts_with(folder / DISK, QCOW2_MAGIC)
                and all(
                    is_unchanged(folder / name, file.sha256, folder / f".{name}.verified")
                    for name, file in manifest.files.items()
                )
            )
            return cls(folder, key, manifest.facts, (folder / MEMORY).stat().st_ino) if whole else None
        except (OSError, ValidationError):
            return None

    def discard(self) -> None:
        """Removes the state; machines that run from it keep the files they have open."""
        doomed = self.folder.with_name(f".gone-{secrets.token_hex(4)}")
        try:
            self.folder.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)


def seal(draft: Path, image: Path, key: str, facts: Mapping[str, str]) -> ReadyState:
    """Makes the draft folder's files durable and read-only and renames it into place."""
    files = {}
    for name in (MEMORY, DISK):
        file = draft / name
        file.chmod(0o400)  # RAM and disk hold the image's secrets
        _sync(file)
        files[name] = _File(size=file.stat().st_size, sha256=file_sha256(file))
    manifest = draft / MANIFEST
    manifest.write_text(_Manifest(key=key, facts=dict(facts), files=files).model_dump_json(indent=1) + "\n")
    _sync(manifest)
    state = ReadyState(image / f"ready-{key}", key, dict(facts), (draft / MEMORY).stat().st_ino)
    state.discard()  # a damaged one may be in the way
    draft.rename(state.folder)
    _sync(image)
    return state


def _starts_with(file: Path, magic: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
