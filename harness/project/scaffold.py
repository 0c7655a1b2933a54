"""Writes the files of a new project from harness/templates/.

A template is a working project named `skeleton`; its name is replaced in contents and file names, as it is,
in capitals and in camel case. So the templates themselves can be compiled, formatted and read.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.contract.render import render
from harness.contract.rows import read_contract
from harness.errors import ConfigurationError

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NAME_LIMIT = 32
PYRIGHT = "pyrightconfig.json"
DRIVER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""The name of a driver that exists, as `driver.name` of winvm.toml takes it."""
RESERVED = frozenset(
    {"skeleton", "winvm", "wdm", "ntddk", "int", "char", "long", "short", "void", "double"}
    | {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)
"""Names of headers, C types and winvm itself, and of DOS devices, which no Windows file can have."""


@dataclass(frozen=True)
class Written:
    """The files written from a template, and the existing files that were left alone."""

    new: tuple[Path, ...]
    kept: tuple[Path, ...]


def write_project(
    folder: Path,
    name: str,
    settings: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
    remarks: Iterable[str] = (),
) -> Written:
    """A commented winvm.toml, an example scenario and a test file; nothing that exists is touched.

    Pyright's settings are written unless the project has a pyproject.toml, which may have its own.

    Args:
        settings: keys of `[driver]` with other values than the defaults: strings and lists of strings.
        files: path -> text, in place of the template's or besides them.
        remarks: comments at the head of `[driver]`.

    Raises:
        ConfigurationError: the name cannot be used, or the folder cannot be written to.
    """
    if not DRIVER_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a driver.",
            remedy="Use at most 64 letters, digits, - and _, a letter or digit first; it becomes a service.",
        )
    texts = {path: _named(text, name) for path, text in _template(TEMPLATES / "init").items()}
    head = "".join(f"# {remark}\n" for remark in remarks)
    toml = texts["winvm.toml"].replace("[driver]\n", f"[driver]\n{head}", 1)
    for key, value in (settings or {}).items():
        shown = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        toml = re.sub(rf"^# {key} = .*$", lambda _, line=shown: line, toml, count=1, flags=re.MULTILINE)  # type: ignore[misc]
    return write_files({**texts, "winvm.toml": toml, **(files or {})}, folder)


def write_driver(folder: Path, name: str) -> Written:
    """A small WDM driver with its contract, scenarios, Makefile and winvm.toml, in a new folder.

    Raises:
        ConfigurationError: the name cannot be used, or the folder is not empty or cannot be written to.
        ContractError: the contract's generator cannot run.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(
            f"The folder {folder} is not empty.", remedy="Choose another name, or remove it."
        )
    if _taken(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a driver: C, Python, Windows or winvm reserves it.",
            remedy="Choose another name.",
        )
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a driver.",
            remedy=f"Use at most {NAME_LIMIT} lower-case letters, digits and single underscores, a letter "
            "first; it becomes a service, a device and names in C and Python.",
        )
    template = {
        _named(path, name).replace("gitignore", ".gitignore"): _named(text, name)
        for path, text in _template(TEMPLATES / "driver").items()
    }
    written = write_files(template, folder)
    header = folder / "include" / f"{name}_contract.h"
    contract = folder / "scenarios" / "contract.py"
    contract.write_text(render(read_contract(header, name.upper()), header.name), encoding="utf-8")
    local = folder / "local.mk"
    local.write_text(f"# This machine's own, not for the repository.\nPYTHON ?= {sys.executable}\n")
    return Written((*written.new, contract, local), written.kept)


def project_name(folder: Path) -> str:
    """A name for the driver in `folder`: the folder's own, reduced to a valid one."""
    words = re.findall(r"[a-z0-9]+", folder.resolve().name.lower())
    name = re.sub(r"^[0-9_]+", "", "_".join(words))[:NAME_LIMIT].rstrip("_")
    return name if NAME.fullmatch(name) and not _taken(name) else "mydriver"


def _taken(name: str) -> bool:
    return name in RESERVED or keyword.iskeyword(name)


def _template(folder: Path) -> dict[str, str]:
    """Path of each file of a template -> its text."""
    return {
        str(source.relative_to(folder)): source.read_text(encoding="utf-8")
        for source in sorted(folder.rglob("*"))
        if source.is_file() and "__pycache__" not in source.parts
    }


def write_files(files: Mapping[str, str], folder: Path) -> Written:
    """Writes the files (path -> text) that do not exist in `folder`; leaves the others alone.

    Raises:
        ConfigurationError: the folder cannot be written to.
    """
    new, kept = [], []
    for path, text in files.items():
        target = folder / path
        if target.name == PYRIGHT and (folder / "pyproject.toml").exists():
            continue  # it would take the place of the settings there
        if target.exists():
            kept.append(target)
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"{target} cannot be written: {error.strerror}.", remedy="Choose another folder."
            ) from error
        new.append(target)
    return Written(tuple(new), tuple(kept))


def _named(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    forms = {"skeleton": name, "SKELETON": name.upper(), "Skeleton": camel}
    return re.sub("skeleton|SKELETON|Skeleton", lambda found: forms[found[0]], text)
