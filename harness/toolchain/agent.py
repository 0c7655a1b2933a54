"""Builds the agent's zipapp from guest/agent and scenario folders, and collects the scenarios in it.

The same inputs give the same bytes: entries are sorted and carry one fixed time. Collecting runs the zipapp's
own `--list` in a separate process, so that a faulty scenario module cannot harm winvm itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import marshal
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import DeadlineError, ScenarioError
from harness.host import programs
from harness.host.resources import guest_folder
from harness.outcome import CrashExpectation, Scenario

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip entry can carry
MAIN = b"import sys\nfrom agent.__main__ import main\n\nraise SystemExit(main(sys.argv[1:]))\n"
# Head of a .pyc that Python loads without checking it against the source (PEP 552).
UNCHECKED = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
MAX_LISTING = 16 << 20  # bytes
REMEDY = "Correct the scenario file and run again."


def build_agent(output: Path, folders: Sequence[Path]) -> Path:
    """Writes the zipapp to `output` and returns it.

    Args:
        folders: scenario folders; every `*.py` directly in them is shipped as `scenarios.<name>`.

    Raises:
        ScenarioError: a folder is missing or empty, or two folders have a module of one name.
    """
    entries = {"__main__.py": MAIN, "scenarios/__init__.py": b""}
    for source in sorted((guest_folder() / "agent").rglob("*.py")):
        entries[source.relative_to(guest_folder()).as_posix()] = source.read_bytes()
    for name, source in scenario_modules(folders).items():
        entries[f"scenarios/{name}.py"] = source.read_bytes()
    return write_zip(output, {**entries, **byte_code(entries)})


def byte_code(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Compiled modules to put beside the sources: compiling would dominate the start in an emulated guest.

    A guest with another Python version ignores them and compiles the sources. A module that does not compile
    is left out: its import reports the error, with file and line. Assertions stay in the byte code whatever
    `-O` or PYTHONOPTIMIZE says on the host: scenarios check with them.
    """
    compiled = {}
    for name, source in sources.items():
        with contextlib.suppress(SyntaxError, ValueError):
            code = compile(source, name, "exec", dont_inherit=True, optimize=0)
            # Marshal version 2 has no back-references, which depend on other objects in the process.
            compiled[f"{name}c"] = UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code, 2)
    return compiled


def write_zip(output: Path, entries: Mapping[str, bytes]) -> Path:
    """Writes a zip file whose bytes depend on `entries` alone; `output`, returned, is written atomically."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.new")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, whatever system builds the zip
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name])
    return unfinished.replace(output)


def scenario_modules(folders: Iterable[Path]) -> dict[str, Path]:
    """Module name to source file over all `folders`; raises `ScenarioError` as `build_agent` does."""
    modules: dict[str, Path] = {}
    for folder in dict.fromkeys(path.resolve() for path in folders):
        found = sorted(folder.glob("*.py"))
        if not found:
            raise ScenarioError(
                f"The scenario folder {folder} has no Python file.",
                remedy="Name a folder that holds scenario modules.",
            )
        for source in found:
            name = source.stem
            if name == "__init__" and not source.read_bytes().strip():
                continue
            if not name.isidentifier():
                raise ScenarioError(
                    f"The scenario file {source} cannot be imported: {name!r} is not a module name.",
                    remedy="Rename it to letters, digits and underscores.",
                )
            if name in modules:
                raise ScenarioError(
                    f"Two scenario folders have a module {name}: {modules[name]} and {source}.",
                    remedy="Rename one of the files: scenarios are named after their module.",
                )
            modules[name] = source
    return modules


def collect(
    pyz: Path, folders: Iterable[Path] = (), deadline: Deadline | None = None
) -> tuple[Scenario, ...]:
    """The scenarios in a zipapp, in their order there.

    Args:
        folders: the scenario folders it was built from; with them each `file` is the source file's path.
        deadline: default 60 s.

    Raises:
        ScenarioError: a module cannot be used; the message names its file and line.
    """
    limit = deadline or Deadline.after(60.0)
    try:
        # -I -S: the host's own packages are not in the guest, so importing one must fail here too.
        done = programs.run([sys.executable, "-I", "-S", str(pyz), "--list"], limit)
    except DeadlineError as error:
        raise ScenarioError(
            f"Collecting the scenarios of {pyz} did not finish within {limit.seconds:g} s.",
            remedy="Look for a scenario module that waits or computes for long when it is imported.",
        ) from error
    listing = _parsed(pyz, done)
    sources = {f"{name}.py": path for name, path in scenario_modules(folders).items()}
    if "error" in listing:
        raise ScenarioError(_located(listing, sources), remedy=REMEDY)
    try:
        return tuple(_scenario(item, sources) for item in listing["scenarios"])
    except (KeyError, TypeError, ValueError) as error:
        raise ScenarioError(
            f"The list of scenarios of {pyz} is invalid: {error!r}.", remedy=REMEDY
        ) from error


def _parsed(pyz: Path, done: programs.Finished) -> dict[str, Any]:
    """The object the listing process printed last; a module may have printed before."""
    stderr = done.stderr[-4000:].decode("utf-8", "replace")
    lines = done.stdout[-MAX_LISTING:].splitlines()
    try:
        listing = json.loads(lines[-1]) if lines else None
    except ValueError:
        listing = None
    if not isinstance(listing, dict):
        raise ScenarioError(
            f"{pyz} --list ended with exit code {done.code} and printed no list.",
            remedy=REMEDY,
            detail=stderr,
        )
    return listing


def _located(listing: dict[str, Any], sources: Mapping[str, Path]) -> str:
    file = str(listing.get("file", ""))
    return f"{sources.get(file, file)}:{listing.get('line', 0)}: {str(listing['error']).rstrip('.')}."


def _scenario(item: dict[str, Any], sources: Mapping[str, Path]) -> Scenario:
    crash = item["expect_crash"]
    file = str(item["file"])
    return Scenario(
        name=str(item["name"]),
        kind=str(item["kind"]),
        summary=str(item["summary"]),
        needs=tuple(map(str, item["needs"])),
        build=str(item["build"]),
        deadline_s=float(item["deadline_s"]),
        expect_dbgprint=tuple(map(str, item["expect_dbgprint"])),
        expect_crash=None if crash is None else _crash(crash),
        tags=tuple(map(str, item["tags"])),
        file=str(sources.get(file, file)),
        line=int(item["line"]),
    )


def _crash(item: dict[str, Any]) -> CrashExpectation:
    parameters = item["parameters"]
    return CrashExpectation(
        bugcheck=item["bugcheck"],
        parameters=None if parameters is None else tuple(parameters),
        exception=item["exception"],
        address=item["address"],
        hang=bool(item["hang"]),
    )
