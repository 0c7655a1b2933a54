"""Lines that changed since a git revision and that no scenario covers."""

from __future__ import annotations

import re
from pathlib import Path

from harness.coverage.lines import Lines
from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.host import programs

GIT_S = 60.0
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


def changed_lines(root: Path, revision: str) -> dict[str, set[int]]:
    """File, relative to `root`, -> its lines that differ from the revision; of a new file, every line.

    Raises:
        ConfigurationError: there is no such revision, or `root` is in no git repository.
    """
    if revision.startswith("-"):
        raise _unknown(revision, "it begins with a hyphen")
    said = _git(
        root, revision, "diff", "--relative", "--unified=0", "--no-color", "--no-renames", revision, "--"
    )
    found: dict[str, set[int]] = {}
    lines: set[int] = set()
    for line in said.splitlines():
        if line.startswith("+++ "):
            name = line[4:].split("\t")[0].strip('"')
            lines = found.setdefault(name.removeprefix("b/"), set())
        elif hunk := _HUNK.match(line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines.update(range(first, first + count))
    for name in _git(root, revision, "ls-files", "--others", "--exclude-standard").splitlines():
        path = root / name
        if path.suffix.lower() in (".c", ".cc", ".cpp", ".cxx", ".h", ".hpp") and path.is_file():
            found[name] = set(range(1, path.read_bytes().count(b"\n") + 2))
    return found


def uncovered(changed: dict[str, set[int]], lines: Lines) -> dict[str, list[int]]:
    """File -> changed lines with code that did not run; files without such lines are left out."""
    missed = {
        name: sorted(line for line in changed.get(name, ()) if file.counts.get(line) == 0)
        for name, file in lines.items()
    }
    return {name: found for name, found in missed.items() if found}


def ranges(lines: list[int]) -> str:
    """`12-14, 20` for sorted line numbers."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _git(root: Path, revision: str, *words: str) -> str:
    # Neither a hook of the repository's settings nor a filter of its attributes runs.
    argv = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", *words]
    if words[0] == "diff":
        argv[6:6] = ["--no-ext-diff", "--no-textconv"]
    done = programs.run(argv, Deadline.after(GIT_S), folder=root)
    if done.code:
        raise _unknown(
            revision, done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        )
    return done.stdout.decode("utf-8", "replace")


def _unknown(revision: str, why: str | list[str]) -> ConfigurationError:
    said = why if isinstance(why, str) else why[0]
    return ConfigurationError(
        f"git does not know what changed since {revision!r}: {said.rstrip('.')}.",
        remedy="Name a branch, tag or commit of the repository that holds winvm.toml.",
    )
