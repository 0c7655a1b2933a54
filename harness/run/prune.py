"""Lists what winvm keeps on disk beyond the present run, and removes what is old, never what is in use.

winvm keeps guest images and their ready states, downloads (all under WINVM_HOME) and the artifacts of runs.
These stay whatever their age: the image of the installed recipe and each Windows profile's newest image, with
the newest ready state of each; everything that a run folder or a running QEMU refers to; the newest run of
each artifacts folder; a run that has not ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.guests.flavour import StoredImage
from harness.guests.registry import broken_flavours, flavours
from harness.host import locks
from harness.images.base import images_folder
from harness.journal import Journal, StepKind, is_open
from harness.machine.savedstate import DISK, MANIFEST
from harness.run.artifacts import RUN_NAME

DAY_S = 86400.0
OLD_DAYS = 14.0
UNFINISHED = "unfinished image"
KEPT_SMOKE_RUNS = 20
"""Smoke runs whose artifacts are kept; `winvm smoke --watch` makes one on every save."""
SUPERSEDED = 3
"""Images, and ready states of one image, that a run keeps beside the one it used."""
_QEMU_LOCK_BYTES = (100, 200)
"""Offset and length of the bytes that QEMU locks in each image file it has open (block/file-posix.c)."""
_FLOCK = "hhqqi4x"
"""struct flock of fcntl(2) on x86-64: type, whence, start, length, process id."""


@dataclass(frozen=True)
class Item:
    """One file or folder on disk.

    Attributes:
        kind: `image`, `unfinished image` (its build was killed), `ready state`, `download`, `artifacts` or
            `smoke artifacts`.
        group: items that supersede each other have the same group.
        size: bytes used on the disk.
        time: when it was made or, for an image, last used; UNIX seconds.
        kept: why it must stay; empty if it may be removed.
    """

    kind: str
    group: Path
    path: Path
    size: int
    time: float
    kept: str = ""


def inventory(home: Path, artifacts: Path | None) -> list[Item]:
    """Every item on disk, oldest first.

    Args:
        artifacts: the artifacts folder of a project, if there is one.
    """
    found = [*_images(home), *_unfinished(home), *_downloads(home)]
    if artifacts:
        found += _artifacts(artifacts)
    return sorted(found, key=lambda item: item.time)


def old(items: Iterable[Item], days: float, keep_bytes: int | None, now: float) -> list[Item]:
    """Items that may be removed: older than `days`, or the oldest ones beyond `keep_bytes` in all."""
    items = sorted(items, key=lambda item: item.time)
    total = sum(item.size for item in items)
    chosen = []
    for item in items:
        too_old = now - item.time > days * DAY_S
        too_much = keep_bytes is not None and total > keep_bytes
        if not item.kept and (too_old or too_much):
            chosen.append(item)
            total -= item.size
    return chosen


def superseded(items: Iterable[Item], now: float) -> list[Item]:
    """Items that a successful run removes: images and ready states that newer ones replaced or that no recipe
    makes any more, and old smoke runs.
    """
    limits = {
        "image": SUPERSEDED,
        "ready state": SUPERSEDED,
        "smoke artifacts": KEPT_SMOKE_RUNS,
        UNFINISHED: 0,
    }
    chosen = []
    seen: dict[tuple[str, Path], int] = {}
    for item in sorted(items, key=lambda item: item.time, reverse=True):
        if item.kind not in limits or item.kept:
            continue
        place = seen[item.kind, item.group] = seen.get((item.kind, item.group), 0) + 1
        if place > limits[item.kind] or (
            item.kind != "smoke artifacts" and now - item.time > OLD_DAYS * DAY_S
        ):
            chosen.append(item)
    return chosen


def remove(items: Iterable[Item], home: Path) -> list[Item]:
    """Removes the items that are still unused and returns them. Removes no image while one is being built."""
    removed = []
    images_folder(home).mkdir(parents=True, exist_ok=True)
    with locks.try_hold(images_folder(home) / ".lock") as free:
        for item in items:
            if not free and "artifacts" not in item.kind:
                continue
            if not item.path.exists() or _in_use(item, _referenced(home)):
                continue
            # Renamed first, so that no process finds half of it.
            doomed = item.path.with_name(f".gone-{secrets.token_hex(4)}")
            item.path.rename(doomed)
            if doomed.is_dir():
                shutil.rmtree(doomed, ignore_errors=True)
            else:
                doomed.unlink()
            removed.append(item)
    return removed


def tidy(home: Path, artifacts: Path, journal: Journal) -> None:
    """Called at the end of a successful run: removes what is superseded."""
    with journal.step(StepKind.REPORT, "prune") as found:
        for error in broken_flavours():
            journal.warn(str(error))
        gone = remove(superseded(inventory(home, artifacts), time.time()), home)
        found["removed"] = [str(item.path) for item in gone]


def mark_used(image: Path) -> None:
    """Marks an image as just used: a run that chose it has no machine yet that would protect the image."""
    with contextlib.suppress(OSError):  # another user's image
        os.utime(image)


def qemu_has_open(image: Path) -> bool:
    """Whether a QEMU process of this host has the disk image open, itself or as a backing file."""
    start, length = _QEMU_LOCK_BYTES
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        with image.open("rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, question)
    except OSError:
        return False
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _images(home: Path) -> Iterator[Item]:
    references = _referenced(home)
    for image in _stored(home):
        folder, is_current = image.folder, image.present
        states = sorted(folder.glob(f"ready-*/{MANIFEST}"), key=lambda file: file.stat().st_mtime)
        size = _size(folder) - sum(_size(state.parent) for state in states)
        item = Item("image", folder.parent / image.made_of, folder, size, folder.stat().st_mtime)
        yield _judged(item, "the present image" if is_current else _in_use(item, references))
        for state in states:
            newest = is_current and state is states[-1]
            item = Item("ready state", folder, state.parent, _size(state.parent), state.stat().st_mtime)
            yield _judged(item, "of the present image" if newest else _in_use(item, references))


def _stored(home: Path) -> Iterator[StoredImage]:
    for flavour in flavours():
        yield from flavour.stored(home)


def _unfinished_builds(images: Path) -> Iterator[tuple[Path, bool]]:
    for flavour in flavours():
        yield from flavour.unfinished(images)


def _unfinished(home: Path) -> Iterator[Item]:
    for folder, building in _unfinished_builds(images_folder(home)):
        item = Item(UNFINISHED, folder.parent, folder, _size(folder), folder.stat().st_mtime)
        yield _judged(item, "it is being built" if building else "")


def _downloads(home: Path) -> Iterator[Item]:
    for file in (home / "downloads").glob("*"):
        if file.is_file():
            yield Item("download", file.parent, file, _size(file), file.stat().st_mtime)


def _artifacts(folder: Path) -> Iterator[Item]:
    for parent, kind in (
        (folder, "artifacts"),
        (folder / "up", "artifacts"),
        (folder / "smoke", "smoke artifacts"),
    ):
        latest = (parent / "latest").resolve()
        for run in parent.glob("*"):
            if re.fullmatch(RUN_NAME, run.name) and run.is_dir():
                item = Item(kind, parent, run, _size(run), run.stat().st_mtime)
                yield _judged(
                    item, "the newest run" if run.resolve() == latest else _in_use(item, frozenset())
                )


def _judged(item: Item, kept: str) -> Item:
    return Item(item.kind, item.group, item.path, item.size, item.time, kept)


def _in_use(item: Item, references: frozenset[Path]) -> str:
    """Why an item must not be removed now; empty if it is unused."""
    path = item.path.resolve()
    if path in references:
        return "a run refers to it"
    if item.kind == "image" and qemu_has_open(path / "base.qcow2"):
        return "a machine runs from it"
    if item.kind == "ready state" and qemu_has_open(path / DISK):
        return "a machine runs from it"
    if item.kind == UNFINISHED and dict(_unfinished_builds(item.path.parent)).get(item.path):
        return "it is being built"
    if "artifacts" in item.kind and is_open(path / "run.jsonl"):
        return "its run has not ended"
    return ""


def _referenced(home: Path) -> frozenset[Path]:
    """Images and ready states that the machines in all run folders are made from."""
    found = set()
    for record in (home / "runs").glob("*/*/machine.json"):
        try:
            machine = json.loads(record.read_bytes())
            found.add(Path(machine["spec"]["image"]).resolve())
            if machine["ready"]:
                found.add(Path(machine["ready"]["folder"]).resolve())
        except (OSError, ValueError, LookupError, TypeError):
            continue  # its run has just ended
    return frozenset(found)


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += file.lstat().st_blocks * 512
        except OSError:
            continue
    return total
