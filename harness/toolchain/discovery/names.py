r"""The names of a driver's devices: symbolic links, device objects, interface classes.

They are read from wide string literals after preprocessing, adjacent literals joined as the compiler does, or
from the text in a `.sys`. A name counts only if the driver creates links or devices at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from harness.toolchain.discovery.preprocess import OwnText

LIMIT = 50
"""Names of one kind; a driver has a handful."""
_LITERALS = re.compile(r'L"(?:[^"\\\n]|\\.)*"(?:\s*L?"(?:[^"\\\n]|\\.)*")*')
_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,4}|.)")
_LINK = re.compile(
    r"\\(?:DosDevices|\?\?|GLOBAL\?\?)\\(?:Global\\)?([^\\:%/\s][^\\:%/]{0,127})", re.IGNORECASE
)
_DEVICE = re.compile(r"\\Device\\([^\\:%/\s][^\\:%/]{0,127})", re.IGNORECASE)
_WINDOWS = re.compile(
    r"tcp6?|udp6?|rawip6?|ip6?|afd|null|beep|mup|namedpipe|mailslot|physicalmemory|(keyboard|pointer)class\d*"
    r"|harddisk(volume)?\d+(\\.*)?|cdrom\d+|floppy\d+|http|netbt.*|lanmanredirector|webdavredirector",
    re.IGNORECASE,
)
"""Devices of Windows itself, to which a filter attaches: the driver does not make them."""
_WIDE = re.compile(rb"(?:[\x20-\x7e]\x00){4,260}")
_LINKS = ("IoCreateSymbolicLink", "IoCreateUnprotectedSymbolicLink", "WdfDeviceCreateSymbolicLink")
_DEVICES = ("IoCreateDevice", "IoCreateDeviceSecure", "WdfDeviceInitAssignName", "WdmlibIoCreateDeviceSecure")
_INTERFACE = re.compile(r"\b(?:IoRegisterDeviceInterface|WdfDeviceCreateDeviceInterface)\s*\([^;]*?&\s*(\w+)")

_ADD_DEVICE = re.compile(r"->\s*AddDevice\s*=\s*&?\s*(\w+)|\bWDF_DRIVER_CONFIG_INIT\s*\([^,;]*,\s*&?\s*(\w+)")
LONGEST = 2000
"""Characters of a routine's parameters."""
ROUTINES = 8
"""AddDevice routines that are looked at."""
_MAKES_DEVICE = re.compile(rf"\b(?:{'|'.join(_DEVICES)}|WdfDeviceCreate)\s*\(")


@dataclass(frozen=True)
class DeviceNames:
    """What a driver's devices are called.

    Attributes:
        links: names that a program opens as `\\\\.\\NAME`.
        devices: names below `\\Device`, for `\\\\.\\GLOBALROOT\\Device\\NAME`.
        interfaces: names of interface class GUIDs.
        plug_and_play: whether the driver makes its devices only when plug and play finds one for it.
    """

    links: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    plug_and_play: bool = False


def names_in_sources(units: Iterable[OwnText]) -> DeviceNames:
    """The names in preprocessed units."""
    texts = [unit.code for unit in units]
    literals = [literal for text in texts for literal in wide_literals(text)]
    interfaces = dict.fromkeys(name for text in texts for name in _INTERFACE.findall(text))
    called = {name for text in texts for name in (*_LINKS, *_DEVICES) if re.search(rf"\b{name}\s*\(", text)}
    names = _names(literals, called, tuple(interfaces)[:LIMIT])
    return replace(names, plug_and_play=_plug_and_play("\n".join(texts)))


def names_in_driver(image: bytes, imported: Iterable[str]) -> DeviceNames:
    """The names in a `.sys`: UTF-16 texts that begin like one.

    Args:
        imported: the routines that it imports.
    """
    texts = [found.decode("utf-16-le") for found in _WIDE.findall(image)]
    return _names(texts, set(imported), ())


def wide_literals(text: str) -> list[str]:
    """The wide string literals in C source text, adjacent ones joined and escapes replaced."""
    return [_ESCAPE.sub(_escaped, "".join(_LITERAL.findall(run))) for run in _LITERALS.findall(text)]


def _plug_and_play(text: str) -> bool:
    """Whether the routine that plug and play calls for a new device is all that makes devices."""
    bodies = [
        body
        for found in islice(_ADD_DEVICE.finditer(text), ROUTINES)
        for body in _bodies(text, found[1] or found[2])
    ]
    inside = sum(len(_MAKES_DEVICE.findall(body)) for body in bodies)
    return inside > 0 and inside == len(_MAKES_DEVICE.findall(text))


def _bodies(text: str, routine: str) -> Iterator[str]:
    """What stands between the braces of each definition of a routine."""
    for head in re.finditer(rf"\b{re.escape(routine)}\s*\([^;{{}}]{{0,{LONGEST}}}\)\s*\{{", text):
        depth = 1
        for brace in re.finditer(r"[{}]", text[head.end() :]):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                yield text[head.end() : head.end() + brace.start()]
                break


def _escaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}.get(code, code)


def _names(texts: Iterable[str], called: set[str], interfaces: tuple[str, ...]) -> DeviceNames:
    links: dict[str, str] = {}
    devices: dict[str, str] = {}
    for text in texts:
        text = text.rstrip("\0")
        if (found := _LINK.fullmatch(text)) and called & set(_LINKS):
            links.setdefault(found[1].lower(), found[1])
        elif (
            (found := _DEVICE.fullmatch(text)) and called & set(_DEVICES) and not _WINDOWS.fullmatch(found[1])
        ):
            devices.setdefault(found[1].lower(), found[1])
    return DeviceNames(tuple(links.values())[:LIMIT], tuple(devices.values())[:LIMIT], interfaces)
