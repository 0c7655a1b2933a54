"""Waits for a save: reads the state of the sources five times a second.

Polling costs little. Unlike inotify, it works on network file systems, across bind mounts, and however an
editor replaces a file. Only the content counts: a file that was merely touched, or that a build wrote again
with the same content, has not changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.host.digest import file_sha256
from harness.project.config import Config

LOOK_S = 0.2
QUIET_S = 0.15
"""A save is over after so long without a change: editors write several files, or one in several steps."""
SUFFIXES = frozenset(
    [
        ".asm",
        ".c",
        ".cc",
        ".cpp",
        ".cxx",
        ".def",
        ".h",
        ".hpp",
        ".inc",
        ".inf",
        ".mak",
        ".mk",
        ".py",
        ".rc",
        ".rs",
        ".s",
        ".toml",
    ]
)
NAMES = frozenset({"makefile", "gnumakefile", "cmakelists.txt", "meson.build", "meson_options.txt"})
SKIPPED = frozenset({"build", "node_modules", "target", "__pycache__"})
"""Folders with build results, which are not watched; folders whose name begins with a dot are not either."""


class Sources:
    """The source files under some folders, and which of them changed."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._seen: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self.changed()

    @classmethod
    def of(cls, config: Config, agent: Path) -> Sources:
        """The sources of a project's driver and scenarios, its winvm.toml, and the agent."""
        return cls((config.driver_folder, *config.scenario_folders, config.root / "winvm.toml", agent))

    def changed(self) -> list[Path]:
        """Files whose content changed since the last call, new and removed files included; sorted."""
        seen: dict[Path, tuple[tuple[int, int, int], str]] = {}
        for path in self._files():
            try:
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                known = self._seen.get(path)
                seen[path] = known if known and known[0] == stamp else (stamp, file_sha256(path))
            except OSError:
                continue  # removed since it was listed
        before, self._seen = self._seen, seen
        return sorted(
            path
            for path in before.keys() | seen.keys()
            if path not in before or path not in seen or before[path][1] != seen[path][1]
        )

    def wait(self) -> list[Path]:
        """Waits until a save is over; returns the changed files."""
        while not (changed := set(self.changed())):
            time.sleep(LOOK_S)
        while True:
            time.sleep(QUIET_S)
            more = self.changed()
            if not more:
                return sorted(changed)
            changed.update(more)

    def _files(self) -> Iterator[Path]:
        for root in self._roots:
            if root.is_file():
                yield root
            for folder, folders, files in os.walk(root):
                folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
                for name in files:
                    if Path(name).suffix.lower() in SUFFIXES or name.lower() in NAMES:
                        yield Path(folder, name)
