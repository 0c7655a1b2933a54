"""Reads an MSBuild XML file into plain nodes. The file is untrusted: size, depth and count are bounded.

A document type declaration is refused, so there are no entities, external or nested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from harness.errors import BuildError

SIZE_LIMIT = 16 << 20
"""Bytes of one file; the largest project of the Windows driver samples has 60 KiB."""
DEPTH_LIMIT = 64
NODE_LIMIT = 100_000
REMEDY = "Correct driver.project in winvm.toml, or the file."


@dataclass
class Node:
    """One element: its name without namespace, its attributes, its text and its children."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def condition(self) -> str:
        """The `Condition` attribute, empty without one."""
        return self.attributes.get("Condition", "")


def read_document(path: Path) -> Node:
    """The root element of an MSBuild file.

    Raises:
        BuildError: unreadable, too large or too deep, not XML, or with a document type declaration.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}.", remedy=REMEDY) from error
    if len(data) > SIZE_LIMIT:
        raise BuildError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB.", remedy=REMEDY)
    builder = _Builder(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BuildError(f"{path} is not XML: {error}.", remedy=REMEDY) from error
    return builder.root


class _Builder:
    """Receives the parser's events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = Node("", {})
        self._open: list[Node] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > NODE_LIMIT or len(self._open) >= DEPTH_LIMIT:
            raise BuildError(
                f"{self.path} has more than {NODE_LIMIT} elements, or more than {DEPTH_LIMIT} levels.",
                remedy=REMEDY,
            )
        node = Node(name.rpartition(":")[2], attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        self._open[-1].text += data

    def doctype(self, *_declaration: object) -> None:
        raise BuildError(
            f"{self.path} has a document type declaration, which no MSBuild file needs.", remedy=REMEDY
        )
