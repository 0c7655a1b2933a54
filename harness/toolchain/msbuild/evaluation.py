"""Evaluates an MSBuild project for one configuration: properties, item definitions, then items.

Order of evaluation: https://learn.microsoft.com/visualstudio/msbuild/build-process-overview. Targets and
tasks are not run. The project is untrusted: imports, expansions and items are counted, and nothing but files
is read.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.errors import BuildError
from harness.toolchain.msbuild.condition import ConditionError, holds
from harness.toolchain.msbuild.document import Node, read_document
from harness.toolchain.msbuild.functions import CALL, called
from harness.toolchain.msbuild.paths import resolve

IMPORT_LIMIT = 200
ITEM_LIMIT = 20_000
EXPANSION_LIMIT = 1 << 20
"""Characters of one expanded value; a property that doubles itself ends here."""
NONE: Mapping[str, str] = MappingProxyType({})
ABSENT = "winvm.absent"
"""Placeholder in paths for a folder of Visual Studio or the WDK, which this host does not have."""
_PROPERTY = re.compile(r"\$\((\w[\w.-]*)\)")
_FUNCTION = re.compile(r"\$\((?:\[|\w+\.)[^()]*(?:\([^()]*\)[^()]*)*\)")
_METADATA = re.compile(r"%\((?:[\w.]+\.)?(\w+)\)")


@dataclass(frozen=True)
class Item:
    """One item of an `ItemGroup`. `metadata` has the names in lower case, definitions merged in."""

    kind: str
    path: Path
    metadata: dict[str, str]


class Evaluation:
    """A project's properties and items for one configuration.

    Args:
        fixed: global properties, which Visual Studio hands over and no project file changes. The WDK's
            project templates set `Configuration` to Debug.

    Attributes:
        project: the project file.
        properties: names in lower case.
        definitions: item type in lower case -> metadata, as `ItemDefinitionGroup` says.
        items: in the order of the file.
        notes: what could not be evaluated and was left out.
    """

    def __init__(self, project: Path, properties: dict[str, str], fixed: Mapping[str, str] = NONE) -> None:
        self.project = project
        self.properties = {name.lower(): value for name, value in {**properties, **fixed}.items()}
        self._fixed = frozenset(name.lower() for name in fixed)
        self.definitions: dict[str, dict[str, str]] = {}
        self.items: list[Item] = []
        self.notes: list[str] = []
        self._imports = 0
        self._groups: list[tuple[Node, Path]] = []
        self._file(project)
        for node, file in self._groups:
            if node.tag == "ItemDefinitionGroup" and self._holds(node, file):
                self._define(node, file)
        for node, file in self._groups:
            if node.tag == "ItemGroup" and self._holds(node, file):
                self._collect(node, file)

    def property(self, name: str) -> str:
        """Its value, empty when there is none."""
        return self.properties.get(name.lower(), "")

    def of_kind(self, kind: str) -> Iterator[Item]:
        """The items of one type."""
        return (item for item in self.items if item.kind == kind.lower())

    def _file(self, path: Path) -> None:
        self._imports += 1
        if self._imports > IMPORT_LIMIT:
            raise BuildError(
                f"{self.project} imports more than {IMPORT_LIMIT} files.",
                remedy="Look for a file that imports itself.",
            )
        root = read_document(path)
        if root.tag != "Project":
            raise BuildError(
                f"{path} is not an MSBuild project: its root element is {root.tag!r}.",
                remedy="Name a .vcxproj or .sln in driver.project.",
            )
        self._elements(root.children, path)

    def _elements(self, nodes: list[Node], file: Path) -> None:
        for node in nodes:
            if node.tag in ("ItemDefinitionGroup", "ItemGroup"):
                self._groups.append((node, file))
            elif node.tag in ("PropertyGroup", "Import", "ImportGroup") and not self._holds(node, file):
                continue
            elif node.tag == "PropertyGroup":
                for child in node.children:
                    if child.tag.lower() not in self._fixed and self._holds(child, file):
                        self.properties[child.tag.lower()] = self.expand(child.text.strip(), file)
            elif node.tag == "ImportGroup":
                self._elements(node.children, file)
            elif node.tag == "Import":
                self._import(node, file)
            elif node.tag == "Choose":
                self._elements(self._chosen(node, file), file)

    def _chosen(self, node: Node, file: Path) -> list[Node]:
        for branch in node.children:
            if branch.tag == "Otherwise" or (branch.tag == "When" and self._holds(branch, file)):
                return branch.children
        return []

    def _import(self, node: Node, file: Path) -> None:
        named = self.expand(node.attributes.get("Project", ""), file)
        if not named or ABSENT in named or "*" in named:
            return
        path = resolve(file.parent, named)
        if path.is_file():
            self._file(path)
        else:
            self.notes.append(f"{file.name} imports {named}, which does not exist")

    def _holds(self, node: Node, file: Path) -> bool:
        condition = node.condition()
        if not condition:
            return True
        try:
            return holds(
                self.expand(condition, file),
                lambda path: ABSENT not in path and resolve(file.parent, path).exists(),
            )
        except ConditionError as error:
            self.notes.append(f"{file.name}: condition {condition[:80]!r} counts as false: {error}")
            return False

    def expand(self, text: str, file: Path, metadata: dict[str, str] | None = None) -> str:
        """Properties and metadata replaced by their values; an unknown one is empty.

        Raises:
            BuildError: the result is too long.
        """
        if "$" in text:
            text = _PROPERTY.sub(lambda found: self._value(found[1].lower(), file), text)
            text = CALL.sub(lambda found: self._called(found, file), text)
            if _FUNCTION.search(text):
                self.notes.append(f"{file.name}: {text[:80]!r} calls a function; its value is left empty")
                text = _FUNCTION.sub("", text)
        if "%(" in text:
            known = metadata or {}
            text = _METADATA.sub(lambda found: known.get(found[1].lower(), ""), text)
        if len(text) > EXPANSION_LIMIT:
            raise BuildError(
                f"A value in {file} is longer than {EXPANSION_LIMIT} characters.",
                remedy="Look for a property that is appended to itself.",
            )
        return text

    def _called(self, found: re.Match[str], file: Path) -> str:
        """What a property function returns; the call itself if it is unknown."""
        result = called(self._value(found["name"].lower(), file), found["method"], found["arguments"])
        return found[0] if result is None else result[:EXPANSION_LIMIT]

    def _value(self, name: str, file: Path) -> str:
        if name == "msbuildthisfiledirectory":
            return f"{file.parent}/"
        if name == "msbuildthisfile":
            return file.name
        return self.properties.get(name, "")

    def _define(self, group: Node, file: Path) -> None:
        for node in group.children:
            if self._holds(node, file):
                known = self.definitions.setdefault(node.tag.lower(), {})
                self._metadata(node, file, known)

    def _metadata(self, node: Node, file: Path, known: dict[str, str]) -> None:
        """Adds what an element says to `known`; `%(Name)` in it is the value so far."""
        for name, value in node.attributes.items():
            if name not in ("Include", "Exclude", "Remove", "Update", "Condition"):
                known[name.lower()] = self.expand(value, file, known)
        for child in node.children:
            if self._holds(child, file):
                known[child.tag.lower()] = self.expand(child.text.strip(), file, known)

    def _collect(self, group: Node, file: Path) -> None:
        for node in group.children:
            if not self._holds(node, file):
                continue
            kind = node.tag.lower()
            if "Remove" in node.attributes:
                gone = set(self._paths(node.attributes["Remove"], file))
                self.items = [item for item in self.items if item.kind != kind or item.path not in gone]
                continue
            excluded = set(self._paths(node.attributes.get("Exclude", ""), file))
            for path in self._paths(node.attributes.get("Include", ""), file):
                if path in excluded:
                    continue
                metadata = dict(self.definitions.get(kind, {}))
                metadata.update(filename=path.stem, extension=path.suffix, identity=str(path))
                self._metadata(node, file, metadata)
                self.items.append(Item(kind, path, metadata))
                if len(self.items) > ITEM_LIMIT:
                    raise BuildError(
                        f"{self.project} has more than {ITEM_LIMIT} items.",
                        remedy="List fewer files in the project.",
                    )

    def _paths(self, listed: str, file: Path) -> Iterator[Path]:
        """Items are relative to the project's folder, whichever file names them."""
        base = self.project.parent
        for named in self.expand(listed, file).split(";"):
            name = named.strip()
            if not name or "\0" in name:
                continue
            if "*" in name or "?" in name:
                pattern = name.replace("\\", "/")
                found = glob.iglob(pattern, root_dir=base, recursive=True)  # noqa: PTH207  # takes .. and absolute
                for count, match in enumerate(found):
                    if count > ITEM_LIMIT:
                        break
                    yield base / match
            else:
                yield resolve(base, name)
