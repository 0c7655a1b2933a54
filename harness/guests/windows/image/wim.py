"""Reads which Windows editions a WIM or ESD file holds: its header and its XML data, nothing else.

Both formats share the header. The XML data is stored uncompressed, so a file of 5 GB costs two small reads
and need not be taken out of its ISO. Layout: Microsoft's "Windows Imaging File Format (WIM)" white paper;
flags and version numbers as wimlib reads them. The file is hostile: every size is checked before it is used.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"MSWIM\0\0\0"
_HEADER = struct.Struct("<8sIIII16sHHI24s24s24sI24s60x")
_RESOURCE = struct.Struct("<QQQ")
_SIZE_BITS = 56
_COMPRESSED, _SOLID = 0x04, 0x10
XML_LIMIT = 4 << 20
"""Bytes; Windows media have about 20 KB."""
IMAGES_LIMIT = 256
TEXT_LIMIT = 128
"""Characters of a name that are kept."""

ARCHITECTURES = {0: "x86", 5: "arm", 6: "ia64", 9: "amd64", 12: "arm64"}
"""PROCESSOR_ARCHITECTURE_* of winnt.h, as the XML's ARCH has them."""


class WimError(ValueError):
    """The file is no WIM that Setup could install from; the message says why."""


@dataclass(frozen=True)
class WimImage:
    """One image of the file.

    Attributes:
        index: what Setup and DISM count from 1.
        edition: EDITIONID, e.g. `EnterpriseEval`; empty for an image that is not Windows.
        installation: INSTALLATIONTYPE: `Client`, `Server` or `Server Core`.
        architecture: a value of `ARCHITECTURES`, or `unknown`.
        build: e.g. 26100. revision: the update level after it.
        languages: the default one first.
        size: bytes that it has once it is installed; -1 if that is not known.
    """

    index: int
    name: str
    edition: str
    installation: str
    architecture: str
    build: int
    revision: int
    languages: tuple[str, ...]
    size: int


def read_images(file: BinaryIO, length: int) -> tuple[WimImage, ...]:
    """Every image of a WIM of `length` bytes, by index.

    Raises:
        WimError: not a WIM, truncated, one part of several, or its XML data cannot be used.
    """
    file.seek(0)
    data = file.read(_HEADER.size)
    if len(data) < _HEADER.size or not data.startswith(MAGIC):
        raise WimError("it does not begin with a WIM header")
    fields = _HEADER.unpack(data)
    part, parts, lookup, xml = fields[6], fields[7], fields[9], fields[10]
    if (part, parts) != (1, 1):
        raise WimError(f"it is part {part} of {parts} of a split image")
    for what, resource in (("lookup table", lookup), ("XML data", xml)):
        offset, size, _ = _located(resource)
        if offset + size > length:
            raise WimError(f"its {what} would end at byte {offset + size} of {length}: it is truncated")
    return tuple(sorted(_images(_xml(file, xml)), key=lambda image: image.index))


def _located(resource: bytes) -> tuple[int, int, int]:
    """Offset, size in the file, and flags of a resource header."""
    size, offset, _original = _RESOURCE.unpack(resource)
    return offset, size & ((1 << _SIZE_BITS) - 1), size >> _SIZE_BITS


def _xml(file: BinaryIO, resource: bytes) -> str:
    offset, size, flags = _located(resource)
    if flags & (_COMPRESSED | _SOLID):
        raise WimError("its XML data is compressed")
    if not 0 < size <= XML_LIMIT:
        raise WimError(f"its XML data has {size} bytes")
    file.seek(offset)
    try:
        return file.read(size).decode("utf-16")
    except UnicodeDecodeError as error:
        raise WimError("its XML data is not UTF-16") from error


def _images(text: str) -> Iterator[WimImage]:
    if "<!" in text:  # no document type, so no entity that expands without end
        raise WimError("its XML data has a declaration")
    try:
        root = ET.fromstring(text)  # noqa: S314 - no declaration, bounded
    except ET.ParseError as error:
        raise WimError(f"its XML data cannot be parsed: {error}") from error
    found = root.findall("IMAGE")
    if len(found) > IMAGES_LIMIT:
        raise WimError(f"it claims {len(found)} images")
    for image in found:
        default = _text(image, "WINDOWS/LANGUAGES/DEFAULT")
        listed = [_clean(each.text) for each in image.findall("WINDOWS/LANGUAGES/LANGUAGE")]
        yield WimImage(
            index=_integer(image.get("INDEX")),
            name=_text(image, "NAME") or _text(image, "DISPLAYNAME"),
            edition=_text(image, "WINDOWS/EDITIONID"),
            installation=_text(image, "WINDOWS/INSTALLATIONTYPE"),
            architecture=ARCHITECTURES.get(_integer(_text(image, "WINDOWS/ARCH")), "unknown"),
            build=_integer(_text(image, "WINDOWS/VERSION/BUILD")),
            revision=_integer(_text(image, "WINDOWS/VERSION/SPBUILD")),
            languages=tuple(dict.fromkeys(name for name in (default, *listed) if name)),
            size=_integer(_text(image, "TOTALBYTES")),
        )


def _text(image: ET.Element, path: str) -> str:
    return _clean(image.findtext(path))


def _clean(text: str | None) -> str:
    return (text or "").strip()[:TEXT_LIMIT]


def _integer(text: str | None) -> int:
    """The number, or -1 if the text is none: no rule accepts -1."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 15 else -1
