"""ARCHITECTURE.md and the tree agree: every room is named, every path exists."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


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
