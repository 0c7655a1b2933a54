"""Function, file and line of addresses in a driver, through its PDB, by llvm-symbolizer.

A folder may hold several builds of one driver: the one is taken whose PE header has the time stamp and size
that the dump names. llvm-symbolizer finds a PDB beside its image; addresses are offsets from the image base.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.deadline import Deadline
from harness.dumps.attribution import AddressMap, blamed
from harness.dumps.dumpfile import DumpFile
from harness.dumps.homonyms import mark_shared
from harness.dumps.pe_file import image_memory
from harness.dumps.summary import Frame, Module, Place, StackWord, Summary
from harness.errors import DeadlineError, DumpError, HostError
from harness.host import programs

DEADLINE_S = 20.0
MAX_FILES = 20_000
MAX_OFFSETS = 256
_TOOLS = ("llvm-symbolizer-19", "llvm-symbolizer")


def symbolise(summary: Summary, folder: Path) -> Summary:
    """The summary with source positions of the fault and of likely return addresses.

    A module whose image or PDB is not in `folder` stays without; an image of another build adds a warning.

    Raises:
        HostError: llvm-symbolizer is missing, fails or does not end.
    """
    names = {module.name.lower() for module in summary.modules}
    matching, warnings = _matching(summary, _images(folder, names), folder)
    summary = _rated(summary, matching)
    wanted: dict[str, dict[int, int]] = {}  # module, offset asked for, offset looked up
    if summary.fault and summary.fault.module and summary.fault.offset is not None:
        # An address from the stack is that after a call, which may be another line's.
        back = 1 if summary.fault_source == "stack" else 0
        wanted.setdefault(summary.fault.module, {})[summary.fault.offset] = summary.fault.offset - back
    for word in summary.likely_returns():
        if word.place.module and word.place.offset:
            of_module = wanted.setdefault(word.place.module, {})
            if len(of_module) < MAX_OFFSETS:
                of_module.setdefault(word.place.offset, word.place.offset - 1)
    found: dict[tuple[str, int], tuple[Frame, ...]] = {}
    for name, offsets in wanted.items():
        if name in matching:
            asked = sorted(set(offsets.values()))
            positions = dict(zip(asked, _look_up(matching[name], asked), strict=False))
            found |= {(name, offset): positions.get(asked_for, ()) for offset, asked_for in offsets.items()}

    def with_frames(place: Place) -> Place:
        return dataclasses.replace(place, frames=found.get((place.module or "", place.offset or 0), ()))

    symbolised = dataclasses.replace(
        summary,
        fault=with_frames(summary.fault) if summary.fault else None,
        stack=tuple(StackWord(word.location, with_frames(word.place), word.called) for word in summary.stack),
        warnings=(*summary.warnings, *warnings),
    )
    return mark_shared(symbolised, matching)


def _matching(
    summary: Summary, images: dict[str, list[Path]], folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """The image of each module that has one of its own build, and a warning for each that has only others."""
    matching: dict[str, Path] = {}
    warnings = []
    for module in summary.modules:
        candidates = images.get(module.name.lower(), [])
        if image := next((path for path in candidates if _is_build(path, module)), None):
            matching[module.name] = image
        elif candidates:
            warnings.append(f"{module.name} in {folder} is another build than the dump's: not symbolised.")
    return matching, warnings


def _rated(summary: Summary, matching: dict[str, Path]) -> Summary:
    """The summary with its stack judged by the images' code, which the dump seldom holds, and blamed anew."""
    called: dict[tuple[str, int], bool | None] = {}
    for name, image in matching.items():
        try:
            with DumpFile(image) as file:
                module = Module(name, name, 0, 1 << 32)
                code = AddressMap([module], [], image_memory(file))
                for word in summary.stack:
                    if word.place.module == name and word.called is None:
                        called[name, word.place.offset or 0] = code.called(module, word.place.offset or 0)
        except DumpError:
            continue
    stack = tuple(
        dataclasses.replace(
            word, called=called.get((word.place.module or "", word.place.offset or 0), word.called)
        )
        for word in summary.stack
    )
    fault = summary.fault
    if summary.fault_source == "stack":
        fault = blamed(None, stack)[0] or fault
    return dataclasses.replace(summary, stack=stack, fault=fault)


def _images(folder: Path, names: set[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _files(folder):
        if path.name.lower() in names:
            found.setdefault(path.name.lower(), []).append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            seen += 1
            if seen > MAX_FILES:
                return
            yield Path(place, name)


def _is_build(image: Path, module: Module) -> bool:
    """Whether the file's PE header has the module's time stamp and size."""
    try:
        with image.open("rb") as file:
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


def _look_up(image: Path, offsets: Iterable[int]) -> list[tuple[Frame, ...]]:
    tool = next(filter(None, map(shutil.which, _TOOLS)), None)
    if tool is None:
        raise HostError("llvm-symbolizer is missing.", remedy="Install it: apt-get install llvm-19")
    lines = "".join(f"{offset:#x}\n" for offset in offsets)
    command = [tool, f"--obj={image.resolve()}", "--relative-address", "--inlining", "--output-style=JSON"]
    try:
        done = programs.run(command, Deadline.after(DEADLINE_S), stdin=lines.encode())
        if done.code:
            raise HostError(f"{tool} failed on {image}: exit code {done.code}.", detail=done.said)
        return [_frames(json.loads(line)) for line in done.text.splitlines() if line.strip()]
    except (DeadlineError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"{tool} failed on {image}: {error}.") from error


def _frames(answer: dict[str, list[dict[str, str | int]]]) -> tuple[Frame, ...]:
    return tuple(
        Frame(str(symbol["FunctionName"]), str(symbol["FileName"]).replace("\\", "/"), int(symbol["Line"]))
        for symbol in answer.get("Symbol", [])
        if symbol["FunctionName"]
    )
