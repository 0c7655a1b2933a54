"""Reads the file `sources` of the driver kits before Visual Studio's: what build.exe compiled into a driver.

Format: the Build utility of the Windows 7 WDK. Only assignments are read. Lines for nmake, which begin with
`!`, are passed over.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.project.scaffold import DRIVER_NAME
from harness.toolchain.clang.sources import SUFFIXES
from harness.toolchain.wdk.casing import in_any_case
from harness.toolchain.wdk.text import source_text

NAME = "sources"
LIMIT = 1000
"""Words of one macro; no driver has so many files."""
_TYPES = frozenset({"driver", "export_driver", "driver_library"})
_ASSIGNMENT = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$")
_MACRO = re.compile(r"\$\((\w+)\)")
_DEFINE = re.compile(r"[-/]D(\w+(?:=[\w.]+)?)")


def driver_of(path: Path, folder: Path) -> tuple[str, dict[str, object]] | None:
    """Name and settings (keys of `[driver]`) of the driver that a file `sources` lists; None without one.

    Args:
        folder: of winvm.toml, to which the settings' paths are relative.
    """
    macros = _macros(source_text(path).decode("utf-8", "replace"))
    name = macros.get("targetname", "")
    if macros.get("targettype", "").lower() not in _TYPES or not DRIVER_NAME.fullmatch(name):
        return None
    listed = _existing(macros.get("sources", ""), path.parent)
    sources = [file for file in listed if file.is_file() and file.suffix.lower() in SUFFIXES]
    if not sources:
        return None
    settings: dict[str, object] = {"sources": [_relative(file, folder) for file in sources]}
    includes = [one for one in _existing(macros.get("includes", ""), path.parent) if one.is_dir()]
    if path.parent != folder:
        includes.append(path.parent)
    if includes:
        settings["include"] = [_relative(one, folder) for one in dict.fromkeys(includes)]
    if defines := _DEFINE.findall(macros.get("c_defines", "")):
        settings["defines"] = list(dict.fromkeys(defines))[:LIMIT]
    named = re.findall(r"(\w+)\.lib\b", macros.get("targetlibs", ""), re.IGNORECASE)
    if libraries := list(dict.fromkeys(library.lower() for library in named))[:LIMIT]:
        settings["libraries"] = libraries
    return name, settings


def _macros(text: str) -> dict[str, str]:
    """Macro in lower case -> its value; a name in it that has no value yet is left out."""
    macros: dict[str, str] = {}
    for line in re.sub(r"\\[ \t]*\r?\n", " ", text).splitlines():
        if found := _ASSIGNMENT.match(line.partition("#")[0]):
            value = _MACRO.sub(lambda used: macros.get(used[1].lower(), ""), found[2])
            macros[found[1].lower()] = value.rstrip("\\").strip()[: 1 << 16]
    return macros


def _existing(listed: str, folder: Path) -> list[Path]:
    """The files and folders of a list that are there, in any case; absolute ones are left out."""
    found = []
    for word in re.split(r"[\s;]+", listed)[:LIMIT]:
        parts = [part for part in word.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or word[0] in "/\\" or ":" in word:
            continue
        path = folder
        for part in parts:
            path = path.parent if part == ".." else in_any_case(path, part)
        if path.exists():
            found.append(path)
    return found


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)
