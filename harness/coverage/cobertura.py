"""Coverage as Cobertura XML, which GitLab, Jenkins and Azure Pipelines read.

Schema: https://github.com/cobertura/cobertura/blob/master/cobertura/src/test/resources/dtds/coverage-04.dtd.
"""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

from harness.coverage.lines import Lines, SourceLines, percent


def cobertura(lines: Lines, root: Path) -> bytes:
    """The document. root: the folder that names of files are relative to."""
    files = list(lines.values())
    taken, branches = _branches(files)
    top = ElementTree.Element(
        "coverage",
        {
            "line-rate": _rate(percent(files) / 100),
            "branch-rate": _rate(taken / branches if branches else 1.0),
            "lines-covered": str(sum(one.covered for one in files)),
            "lines-valid": str(sum(len(one.counts) for one in files)),
            "branches-covered": str(taken),
            "branches-valid": str(branches),
            "complexity": "0",
            "version": "winvm",
            "timestamp": str(int(time.time())),
        },
    )
    sources = ElementTree.SubElement(top, "sources")
    ElementTree.SubElement(sources, "source").text = str(root)
    packages = ElementTree.SubElement(top, "packages")
    by_folder: dict[str, list[str]] = {}
    for name in sorted(lines):
        by_folder.setdefault(name.rpartition("/")[0] or ".", []).append(name)
    for folder, names in by_folder.items():
        inside = [lines[name] for name in names]
        package = _element(packages, "package", folder, inside)
        classes = ElementTree.SubElement(package, "classes")
        for name in names:
            _class(classes, name, lines[name])
    document: bytes = ElementTree.tostring(top, encoding="utf-8", xml_declaration=True)
    return document


def _class(classes: ElementTree.Element, name: str, file: SourceLines) -> None:
    found = _element(classes, "class", name.rpartition("/")[2], [file])
    found.set("filename", name)
    ElementTree.SubElement(found, "methods")
    listed = ElementTree.SubElement(found, "lines")
    for number, count in sorted(file.counts.items()):
        line = ElementTree.SubElement(listed, "line", number=str(number), hits=str(count), branch="false")
        if number in file.branches:
            taken, total = file.branches[number]
            line.set("branch", "true")
            line.set("condition-coverage", f"{100 * taken // total}% ({taken}/{total})")


def _element(
    parent: ElementTree.Element, kind: str, name: str, files: list[SourceLines]
) -> ElementTree.Element:
    taken, branches = _branches(files)
    return ElementTree.SubElement(
        parent,
        kind,
        {
            "name": name,
            "line-rate": _rate(percent(files) / 100),
            "branch-rate": _rate(taken / branches if branches else 1.0),
            "complexity": "0",
        },
    )


def _branches(files: list[SourceLines]) -> tuple[int, int]:
    pairs = [pair for file in files for pair in file.branches.values()]
    return sum(taken for taken, _ in pairs), sum(total for _, total in pairs)


def _rate(value: float) -> str:
    return f"{value:.4f}"
