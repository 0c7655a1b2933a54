"""ARCHITECTURE.md and the tree agree: every room is named, every path exists, files stay readable."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


LIMIT = 400
"""Lines of a source file; about 300 are the aim."""


def sources() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.c", "*.h"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "room", sorted(p.name for p in (ROOT / "harness").iterdir() if p.suffix in ("", ".py")), ids=str
)
def test_every_room_of_the_host_side_is_named(room: str) -> None:
    if room in ("__pycache__", "py.typed"):
        return
    name = room if room.endswith(".py") else f"{room}/"
    assert f"`{name}`" in TEXT, f"ARCHITECTURE.md does not say what harness/{name} owns"


def test_every_path_it_names_exists() -> None:
    folders = "(?:harness|guest|driver|vm|tests|docs)"
    named = set(re.findall(rf"`?({folders}/[\w./-]+?)`?(?=[\s,;:)`]|\.\s|$)", TEXT))
    assert named
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing


def test_its_rows_are_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    places = []
    for layer in layers:
        rooms = [room.strip() for room in re.split("[|:]", layer)]
        at = [
            TEXT.index(f"| `{room}/`" if (ROOT / "harness" / room).is_dir() else f"| `{room}.py`")
            for room in rooms
        ]
        places.append((min(at), max(at)))
    for (_, above), (below, _) in pairwise(places):
        assert above < below, "the table lists a package above one that imports it"


def cycle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that import each other in a circle; empty if none do."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("harness", cache_dir=None)


def test_no_module_imports_itself_through_others(graph: grimp.ImportGraph) -> None:
    assert not cycle({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})


def test_no_package_and_no_part_of_it_import_each_other(graph: grimp.ImportGraph) -> None:
    def room(name: str) -> str:
        parent = name.rpartition(".")[0]
        return name if parent in ("", "harness") or graph.find_children(name) else parent

    imports: dict[str, set[str]] = {}
    for name in graph.modules:
        others = {room(other) for other in graph.find_modules_directly_imported_by(name)}
        imports.setdefault(room(name), set()).update(others - {room(name)})
    assert {"harness.dumps.formats", "harness.debuggers.kd.net"} <= imports.keys()
    assert not cycle(imports)


def test_a_cycle_would_be_found() -> None:
    assert set(cycle({"a": ["b"], "b": ["c"], "c": ["a"]})) == {"a", "b", "c"}


@pytest.mark.parametrize("name", sources())
def test_no_file_is_too_long_to_read(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= LIMIT, f"{name} has {lines} lines: it holds more than one concept"
