"""Finds function, file and line of addresses with llvm-symbolizer and PDBs that match their images.

The PDB's GUID and age are compared here, since llvm-symbolizer does not compare them. It is given a stand-in
image that names the matching PDB, never the PDB path in the image itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from harness.deadline import Deadline
from harness.dumps.homonyms import mark_shared
from harness.dumps.image import Image
from harness.dumps.pdb import PdbIdentity, stand_in
from harness.dumps.summary import Frame, Module, NoMemory, Place, StackFrame, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.errors import DeadlineError, HostError
from harness.host import confined

DEADLINE_S = 20.0
"""Seconds that llvm-symbolizer may take in all."""
LIMITS = confined.Limits(cpu_s=10)
MAX_OFFSETS = 1024
_TOOLS = ("llvm-symbolizer-19", "llvm-symbolizer")
_MACHINES = {"arm64": 0xAA64}

Offsets = Mapping[str, Mapping[int, int]]
"""By module: requested offset, and the offset that is looked up for it."""


def symbolise(summary: Summary, symbols: Path | SymbolPath) -> Summary:
    """Adds source positions to the fault and to the stack's frames.

    Addresses of a module whose PDB is not in `symbols`, or is of another build, get none; a warning says so.

    Raises:
        HostError: llvm-symbolizer is missing, fails or does not end.
    """
    path = symbols if isinstance(symbols, SymbolPath) else SymbolPath("", folders=[symbols])
    wanted: dict[str, dict[int, int]] = {}
    if summary.fault and summary.fault.module and summary.fault.offset is not None:
        wanted.setdefault(summary.fault.module, {})[summary.fault.offset] = _looked_up(summary, summary.fault)
    for frame in itertools.chain.from_iterable(summary.stacks()):
        if frame.place.module and frame.place.offset:
            of_module = wanted.setdefault(frame.place.module, {})
            if len(of_module) < MAX_OFFSETS:
                of_module.setdefault(frame.place.offset, frame.place.offset - frame.returned)
    blamed = {summary.fault.module} if summary.fault and summary.fault.module else set()
    matching = _matching(summary.modules, wanted.keys() | blamed, path)
    found = positions(matching, wanted, path.warnings, _MACHINES.get(summary.arch, 0))

    def with_frames(place: Place) -> Place:
        return dataclasses.replace(place, frames=found.get((place.module or "", place.offset or 0), ()))

    def named(stack: tuple[StackFrame, ...]) -> tuple[StackFrame, ...]:
        return tuple(dataclasses.replace(frame, place=with_frames(frame.place)) for frame in stack)

    symbolised = dataclasses.replace(
        summary,
        fault=with_frames(summary.fault) if summary.fault else None,
        stack=named(summary.stack),
        processors=tuple(
            dataclasses.replace(processor, stack=named(processor.stack)) for processor in summary.processors
        ),
        threads=tuple(dataclasses.replace(thread, stack=named(thread.stack)) for thread in summary.threads),
        warnings=(*summary.warnings, *dict.fromkeys(path.warnings)),
    )
    return mark_shared(symbolised, {name: pdb for name, (pdb, _) in matching.items() if name in blamed})


def _looked_up(summary: Summary, fault: Place) -> int:
    """The offset by which the place at fault is looked up.

    A return address may belong to the source line, or the function, after the call's. An interrupted
    instruction on the stack is no return address.
    """
    own = next((frame for frame in summary.stack if frame.place.address == fault.address), None)
    returned = own.returned if own else summary.fault_source == "stack"
    return (fault.offset or 0) - (summary.fault_source == "stack" and returned)


def routines(module: Module, offsets: Iterable[int], path: SymbolPath) -> dict[int, tuple[Frame, ...]]:
    """Source positions of routines by their offset in the module; empty without a matching PDB.

    Raises:
        HostError: llvm-symbolizer is missing.
    """
    wanted = {module.name: {offset: offset for offset in itertools.islice(offsets, MAX_OFFSETS)}}
    found = positions(_matching([module], wanted, path), wanted, path.warnings)
    return {offset: frames for (_, offset), frames in found.items()}


def positions(
    matching: Mapping[str, tuple[Path, PdbIdentity]], wanted: Offsets, warnings: list[str], machine: int = 0
) -> dict[tuple[str, int], tuple[Frame, ...]]:
    """Source positions by module and offset, innermost first, for modules with a matching PDB.

    A PDB on which llvm-symbolizer fails or does not end gives no positions; a line in `warnings` says so.

    Raises:
        HostError: llvm-symbolizer is missing.
    """
    if not matching:
        return {}
    with confined.folder("winvm-symbols-") as folder:
        asked: dict[str, list[tuple[int, str]]] = {}
        for index, (name, (pdb, identity)) in enumerate(matching.items()):
            if not wanted.get(name):
                continue
            # The copy is what is checked and read: nobody else can replace it, and it is where USER may read.
            image, copy = folder / f"{index}.dll", folder / f"{index}.pdb"
            try:
                confined.copied(pdb, copy)
            except OSError as error:
                warnings.append(f"{pdb} is not used: {error.strerror or error}.")
                continue
            image.write_bytes(stand_in(copy, identity, machine))
            confined.hand_over(image)
            asked[name] = [(offset, f'"{image}" {at:#x}') for offset, at in wanted[name].items()]
        return _answers(asked, {name: pdb for name, (pdb, _) in matching.items()}, folder, warnings)


def _answers(
    asked: Mapping[str, list[tuple[int, str]]], pdbs: Mapping[str, Path], folder: Path, warnings: list[str]
) -> dict[tuple[str, int], tuple[Frame, ...]]:
    """Asks for all modules at once; when that fails, for each by itself, to know the PDB that is at fault."""
    deadline = Deadline.after(DEADLINE_S)
    groups: list[list[str]] = [list(asked)] if asked else []
    found: dict[tuple[str, int], tuple[Frame, ...]] = {}
    while groups:
        names = groups.pop(0)
        keys = [(name, offset) for name in names for offset, _ in asked[name]]
        lines = [line for name in names for _, line in asked[name]]
        # Half of what is left: a PDB on which the symboliser hangs leaves the others their time.
        seconds = deadline.remaining() / (2 if len(names) > 1 or groups else 1)
        try:
            answers = _look_up(lines, Deadline.after(seconds), folder)
        except (_BadPdbError, DeadlineError) as error:
            if len(names) > 1:
                groups += [[name] for name in names]
            else:
                warnings.append(f"{pdbs[names[0]]} is not used: llvm-symbolizer {_reason(error)}.")
            continue
        found |= {key: frames for key, frames in zip(keys, answers, strict=False) if frames}
    return found


class _BadPdbError(Exception):
    """llvm-symbolizer failed; the text says how it ended."""


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _BadPdbError) else f"did not end within {DEADLINE_S:g} s"


def _matching(
    modules: Iterable[Module], wanted: Container[str], path: SymbolPath
) -> dict[str, tuple[Path, PdbIdentity]]:
    """Finds, by module name, the PDB that matches the image in the dump, for the requested modules."""
    matching: dict[str, tuple[Path, PdbIdentity]] = {}
    for module in modules:
        if module.name not in wanted or module.name in matching:
            continue
        if (identity := _identity(module, path)) and (pdb := path.pdb(identity)):
            matching[module.name] = pdb, identity
    return matching


def _identity(module: Module, path: SymbolPath) -> PdbIdentity | None:
    """The PDB identity from the module's image in the dump, else from its file."""
    if module.pdb:
        return module.pdb
    known = len(path.warnings)
    if file := path.file(module):
        return Image(NoMemory(), 0, file).pdb()
    if len(path.warnings) == known and (loose := path.loose_pdb(module)):
        path.warnings.append(
            f"{loose} is not used: {module.name} is neither in the dump nor beside it, so that it is unknown "
            "whether they match."
        )
    return None


def _look_up(lines: list[str], deadline: Deadline, folder: Path) -> list[tuple[Frame, ...]]:
    tool = next(filter(None, map(shutil.which, _TOOLS)), None)
    if tool is None:
        raise HostError("llvm-symbolizer is missing.", remedy="Install it: apt-get install llvm-19")
    command = [tool, "--relative-address", "--inlining", "--output-style=JSON"]
    text = "".join(f"{line}\n" for line in lines)
    done = confined.run(command, deadline, reads=[folder], limits=LIMITS, stdin=text.encode())
    if done.code:
        raise _BadPdbError(confined.describe(done.code, LIMITS))
    try:
        return [_frames(json.loads(line)) for line in done.text.splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _BadPdbError(f"gave an answer that cannot be read: {error}") from error


def _frames(answer: dict[str, list[dict[str, str | int]]]) -> tuple[Frame, ...]:
    return tuple(
        Frame(str(symbol["FunctionName"]), str(symbol["FileName"]).replace("\\", "/"), int(symbol["Line"]))
        for symbol in answer.get("Symbol", [])
        if symbol["FunctionName"]
    )
