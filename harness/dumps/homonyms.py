"""Distinguishes functions of one name in several sources of a driver, from its PDB, by llvm-pdbutil.

A function that exists out of line has a reference in the globals stream (S_PROCREF, S_LPROCREF) with the
number of its module, counted from 1. One that was inlined everywhere has none; its LF_FUNC_ID or LF_MFUNC_ID
is in the inlinee lines of the modules that it was inlined into, with the file that defines it. A function
defined in a header is in many modules but is one function. Sources of one base name are not distinguished.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath

from harness.deadline import Deadline
from harness.dumps.signature import naming_frame
from harness.dumps.summary import Summary
from harness.errors import HostError, WinvmError
from harness.host import confined, programs

DEADLINE_S = 20.0
OUTPUT_LIMIT = 32 << 20
"""Largest llvm-pdbutil output for one PDB, in bytes: a driver's takes some hundred kilobytes."""
HEADERS = frozenset({".h", ".hh", ".hpp", ".hxx", ".inc", ".inl"})
_TOOLS = ("llvm-pdbutil-19", "llvm-pdbutil")
_MODULE = re.compile(r"Mod (\d+) \| `(.*)`:")
_INLINEE = re.compile(r"\s+0x([0-9A-F]+) \| +\d+ \| (.*?)(?: \([^()]*\))?$")
_ID = re.compile(r"\s+0x([0-9A-F]+) \| LF_M?FUNC_ID ")
_NAME = re.compile(r"\s+name = (.*), type = ")
_REFERENCE = re.compile(r"\s+\d+ \| S_L?PROCREF \[size = \d+\] `(.*)`")
_NUMBER = re.compile(r"\s+module = (\d+),")


def mark_shared(summary: Summary, pdbs: Mapping[str, Path]) -> Summary:
    """Marks the frame that names the fault in the summary if another source has a function of that name.

    Args:
        pdbs: module name -> the PDB that belongs to it.

    Without the PDB, nothing is marked. A PDB that cannot be read adds a warning.
    """
    fault = summary.fault
    frame = naming_frame(fault) if fault else None
    pdb = pdbs.get(fault.module or "") if fault else None
    if not fault or not frame or not pdb or PureWindowsPath(frame.file).suffix.lower() in HEADERS:
        return summary
    if "\0" in frame.function:
        return summary
    try:
        shared = len(sources_of(frame.function, _said(pdb, frame.function))) > 1
    except WinvmError as error:
        return dataclasses.replace(summary, warnings=(*summary.warnings, str(error)))
    if not shared:
        return summary
    frames = tuple(dataclasses.replace(one, shared=True) if one is frame else one for one in fault.frames)
    return dataclasses.replace(summary, fault=dataclasses.replace(fault, frames=frames))


def sources_of(function: str, lines: Iterable[str]) -> frozenset[str]:
    """Names, without folder and suffix, of the sources or objects (not headers) that define a function.

    Args:
        lines: llvm-pdbutil's output on inlinee lines, ids and globals.
    """
    objects: dict[int, str] = {}
    inlined: list[tuple[str, str]] = []
    identified: set[str] = set()
    referring: set[int] = set()
    number, newest, of_function = 0, "", False
    for line in lines:
        if found := _MODULE.match(line):
            number = int(found[1])
            objects[number] = _stem(found[2])
        elif found := _ID.match(line):
            newest = found[1]
        elif found := _NAME.match(line):
            if found[1] == function:
                identified.add(newest)
        elif found := _INLINEE.match(line):
            inlined.append((found[1], found[2]))
        elif found := _REFERENCE.match(line):
            of_function = found[1] == function
        elif (found := _NUMBER.match(line)) and of_function:
            referring.add(int(found[1]) - 1)
            of_function = False
    files = {file for identity, file in inlined if identity in identified}
    sources = {_stem(file) for file in files if PureWindowsPath(file).suffix.lower() not in HEADERS}
    return frozenset(sources | {objects.get(module, f"module {module}") for module in referring})


def _stem(path: str) -> str:
    """`async` of `driver\\src\\async.c`, `async.obj` and `async.c.obj`."""
    return PureWindowsPath(path).name.partition(".")[0].lower()


def _said(pdb: Path, function: str) -> list[str]:
    """llvm-pdbutil's lines about inlinees, ids and the globals of one name.

    Raises:
        HostError: llvm-pdbutil is missing, fails on this PDB, or its output is too long.
        DeadlineError: llvm-pdbutil takes too long.
    """
    tool = next(filter(None, map(shutil.which, _TOOLS)), None)
    if tool is None:
        raise programs.missing(_TOOLS[0])
    with confined.folder("winvm-pdb-") as folder:
        copy = folder / "it.pdb"
        try:
            confined.copied(pdb, copy)
        except OSError as error:
            raise HostError(f"{pdb} cannot be read: {error.strerror or error}.") from error
        command = [tool, "dump", "--il", "--ids", "--globals", f"--global-name={function}", str(copy)]
        done = confined.run(command, Deadline.after(DEADLINE_S), reads=[folder], output=OUTPUT_LIMIT)
    if done.code:
        raise HostError(f"{Path(tool).name} {confined.describe(done.code)} on {pdb}.", detail=done.said)
    if len(done.stdout) == OUTPUT_LIMIT:
        raise HostError(f"{pdb.name} is too large to search it for functions of one name.")
    return done.text.splitlines()
