"""Searches for images and PDBs in folders, symbol stores and symbol servers; syntax of _NT_SYMBOL_PATH.

    C:\\a;b               folders, each with its subfolders
    srv*CACHE*SERVER     stores, each searched before the next and filled from it; a server is an http address
    symsrv*DLL*A*B       the same; cache*A adds a store before the servers that follow

A store holds `NAME/KEY/NAME`, or in three tiers `NA/NAME/KEY/NAME` (Microsoft: Symbol path, SymStore).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from harness.dumps.dumpfile import DumpFile
from harness.dumps.pdb import PdbIdentity, is_pdb_of, read_identity
from harness.dumps.pe_file import image_memory
from harness.dumps.summary import Module, VirtualMemory
from harness.dumps.symbol_server import SymbolServer
from harness.errors import DumpError
from harness.host.regular import open_regular

VARIABLE = "_NT_SYMBOL_PATH"
MAX_FILES = 20_000
MAX_ELEMENTS = 64
MAX_RENAMED = 50
_NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|]{1,200}")


@dataclass
class _Chain:
    """Stores in search order, the nearest first, and the servers searched after them."""

    stores: list[Path] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)


class SymbolPath:
    """Finds the image and the PDB of a build, and never those of another build.

    Args:
        text: in the syntax of _NT_SYMBOL_PATH.
        folders: further folders, which are searched first; a PDB directly in one may have any name.
        download: whether the servers in `text` are used; otherwise they are left out.
        cache: store for downloaded files where the path names none.

    `warnings` gains a line for each file that did not match, and for each server that failed. `absent` has
    the folders and stores that `text` names and that are not there, without stores that a server would fill.
    """

    def __init__(
        self,
        text: str,
        *,
        folders: Iterable[Path] = (),
        download: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self.absent: list[Path] = []
        self._folders = list(folders)
        self._own = tuple(self._folders)
        self._chains: list[_Chain] = []
        self._servers: dict[str, SymbolServer] = {}
        self._download = download
        self._cache = cache
        self._files: dict[str, list[Path]] | None = None
        self._outside: dict[str, Path] = {}
        self._images: dict[tuple[str, int, int], Path | None] = {}
        self._open: dict[Path, VirtualMemory | None] = {}
        in_front: list[Path] = []
        for element in list(filter(None, map(str.strip, text.split(";"))))[:MAX_ELEMENTS]:
            kind, *rest = element.split("*")
            if not rest:
                self._folders.append(Path(element))
                self._chains.append(_Chain([Path(element)]))
                self._expect(element)
            elif kind.lower() == "cache":
                in_front += [Path(part) for part in rest if part]
            elif kind.lower() in ("srv", "symsrv"):
                self._add_chain(rest[1:] if kind.lower() == "symsrv" else rest, in_front)
            else:
                self.warnings.append(f"{element!r} in the symbol path is not a valid element.")
        if in_front and not self._chains:
            self._chains.append(_Chain(list(in_front)))

    def _add_chain(self, parts: Sequence[str], in_front: Iterable[Path]) -> None:
        chain = _Chain(list(in_front))
        servers = [part for part in parts if part.lower().startswith(("http://", "https://"))]
        for part in filter(None, parts):
            if part not in servers:
                chain.stores.append(Path(part))
                if not servers:
                    self._expect(part)
        if self._download:
            chain.servers += servers
        if chain.servers and not chain.stores and self._cache:
            chain.stores.append(self._cache)
        self._chains.append(chain)

    def _expect(self, folder: str) -> None:
        try:
            there = Path(folder).is_dir()
        except OSError:  # ENAMETOOLONG
            there = False
        if not there and Path(folder) not in self.absent:
            self.absent.append(Path(folder))

    def image(self, module: Module) -> Path | None:
        """The file of the module's build: its PE header has the time stamp and size that the dump names."""
        wanted = module.name.lower(), module.timestamp, module.size
        if wanted not in self._images:
            self._images[wanted] = self._find_image(module)
        return self._images[wanted]

    def _find_image(self, module: Module) -> Path | None:
        others = []
        for path in self._named(module.name):
            if is_build(path, module):
                return path
            others.append(path)
        key = f"{module.timestamp:08X}{module.size:x}"
        for path in self._stored(module.name, key):
            if is_build(path, module):
                return path
        if others:
            where = others[0].parent
            self.warnings.append(
                f"{module.name} in {where} is of another build than the dump's: it is not used."
            )
        return None

    def file(self, module: Module) -> VirtualMemory | None:
        """The module's file, addressed by offset from its base as the loader lays it out."""
        path = self.image(module)
        if path is None:
            return None
        if path not in self._open:
            try:
                # The file stays mapped while the memory that reads it is in use.
                self._open[path] = image_memory(DumpFile(path))
            except DumpError:
                self._open[path] = None
        return self._open[path]

    def pdb(self, identity: PdbIdentity) -> Path | None:
        """The PDB with this GUID and age; a warning lists other files of its name that were not used."""
        others = []
        for path in self._named(identity.name):
            if is_pdb_of(path, identity):
                return path
            others.append(path)
        for path in self._renamed():
            if is_pdb_of(path, identity):
                return path
        for path in self._stored(identity.name, identity.key):
            if is_pdb_of(path, identity):
                return path
            others.append(path)
        for path in others[:1]:
            found = read_identity(path)
            said = PdbIdentity(path.name, *found[:2]).key if found else "no GUID"
            self.warnings.append(
                f"{path} does not match its image, which needs {identity.key}: the file has {said}. "
                "It is not used."
            )
        return None

    def _renamed(self) -> Iterator[Path]:
        """PDBs of any name: a driver that is loaded by its service's name keeps the first name of its PDB."""
        found = (path for folder in self._own for path in sorted(folder.glob("*.pdb")))
        return (path for path in islice(found, MAX_RENAMED) if path.is_file() and not path.is_symlink())

    def loose_pdb(self, module: Module) -> Path | None:
        """A PDB with the module's name; whether it belongs to the module is unknown."""
        return next(iter(self._named(module.name.rpartition(".")[0] + ".pdb")), None)

    def _named(self, name: str) -> list[Path]:
        """Files of that name in the folders, in any case."""
        if self._files is None:
            self._files = {}
            for folder, path in _below(self._folders):
                if path.is_symlink() and not _leads_inside(path, folder):
                    self._outside.setdefault(path.name.lower(), path)
                else:
                    self._files.setdefault(path.name.lower(), []).append(path)
        if outside := self._outside.pop(name.lower(), None):
            self.warnings.append(f"{outside} is a link that leads out of its folder. It is not used.")
        return self._files.get(name.lower(), [])

    def _stored(self, name: str, key: str) -> Iterator[Path]:
        """The file in the stores; else from the servers, into the nearest store."""
        if not _NAME.fullmatch(name) or name.strip(". ") == "":
            return
        for chain in self._chains:
            for store in chain.stores:
                for place in (store / name / key / name, store / name[:2].lower() / name / key / name):
                    if _is_file(place):
                        yield place
            for address in chain.servers:
                if not chain.stores:
                    continue
                server = self._servers.setdefault(address, SymbolServer(address, self.warnings))
                if fetched := server.fetch(name, key, chain.stores[0]):
                    yield fetched


def _is_file(place: Path) -> bool:
    """Whether there is a file; a name that no file system takes is none."""
    try:
        return place.is_file()
    except OSError:  # ENAMETOOLONG
        return False


def _leads_inside(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def _below(folders: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Each folder with a file below it."""
    seen = 0
    for folder in folders:
        for place, inner, names in os.walk(folder):
            inner.sort()
            for name in sorted(names):
                seen += 1
                if seen > MAX_FILES:
                    return
                yield folder, Path(place, name)


def is_build(image: Path, module: Module) -> bool:
    """Whether the file's PE header has the module's time stamp and size."""
    try:
        with open_regular(image) as file:
            head = file.read(4096)
    except OSError:
        return False
    if len(head) < 0x40:
        return False
    (at,) = struct.unpack_from("<I", head, 0x3C)
    if not head.startswith(b"MZ") or head[at : at + 4] != b"PE\0\0" or len(head) < at + 0x54:
        return False
    (stamp,) = struct.unpack_from("<I", head, at + 8)
    (size,) = struct.unpack_from("<I", head, at + 24 + 56)
    return (stamp, size) == (module.timestamp, module.size)
