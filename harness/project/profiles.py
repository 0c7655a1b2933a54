"""Finds profiles, and merges a profile with the one that it extends.

A profile `NAME` is `NAME.toml`, in the first of these folders that has it: `profiles/` beside the project's
winvm.toml, `WINVM_HOME/profiles`, `vm/profiles` of winvm itself. A profile with `extends = "windows-11"`
changes that profile: tables are merged key by key, other values are replaced. A profile that extends its own
name changes the profile of that name in the folders after its own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError
from harness.host.resources import vm_folder
from harness.plugins import FLAVOURS
from harness.project.config import home
from harness.project.profile import Profile

_P = TypeVar("_P", bound=Profile)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST_CHAIN = 16
LARGEST_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class ProfileFile:
    """One profile that was found. origin: `project`, `home` or `winvm`."""

    name: str
    origin: str
    file: Path


def folders(project: Path | None = None) -> list[tuple[str, Path]]:
    """Origin and folder, in the order in which they are searched. project: the folder of winvm.toml."""
    own = [("project", project / "profiles")] if project else []
    return [*own, ("home", home() / "profiles"), ("winvm", vm_folder() / "profiles")]


def listed(project: Path | None = None) -> list[ProfileFile]:
    """The profiles that a name can refer to, by origin and name; profiles hidden by others are left out."""
    found: dict[str, ProfileFile] = {}
    for origin, folder in folders(project):
        for file in sorted(folder.glob("*.toml")):
            if NAME.fullmatch(file.stem):
                found.setdefault(file.stem, ProfileFile(file.stem, origin, file))
    return list(found.values())


def misnamed(project: Path | None = None) -> list[Path]:
    """Files in the folders of profiles whose names no profile can have."""
    files = (file for _, folder in folders(project) for file in sorted(folder.glob("*.toml")))
    return [file for file in files if not NAME.fullmatch(file.stem)]


def misnamed_error(file: Path) -> ConfigurationError:
    """Says what a profile may be called."""
    return ConfigurationError(
        f"{file} cannot be used: {file.stem!r} is no name for a profile.",
        remedy="Rename it: at most 64 of a-z, A-Z, 0-9, '.', '_' and '-', first a letter or digit. Names of"
        " images, machines and history are made of it.",
    )


def shipped(kind: type[_P]) -> list[_P]:
    """winvm's own profiles of this class, by name."""
    found = (load_profile(file) for file in sorted((vm_folder() / "profiles").glob("*.toml")))
    return [profile for profile in found if isinstance(profile, kind)]


def find_profile(name: str, project: Path | None = None) -> Profile:
    """The profile of that name.

    Raises:
        ConfigurationError: there is none, or it cannot be used; names its file.
    """
    return load_profile(_located(name, project, None), project)


def load_profile(file: Path, project: Path | None = None) -> Profile:
    """The profile in a file; its name is the file's if it says none.

    Raises:
        ConfigurationError: the file is missing, is not TOML, extends what is not there or itself, or holds a
            wrong or unknown entry.
    """
    return _load(file, project, ())


def _load(file: Path, project: Path | None, extending: tuple[Path, ...]) -> Profile:
    file = file.absolute()
    if file in extending:
        chain = " -> ".join(path.name for path in (*extending, file))
        raise ConfigurationError(
            f"Profile {file} extends itself: {chain}.", remedy="Remove extends from one of these files."
        )
    if len(extending) > LONGEST_CHAIN:
        raise ConfigurationError(
            f"Profile {extending[0]} extends more than {LONGEST_CHAIN} others, one after another.",
            remedy="Extend a shipped profile directly.",
        )
    document = _read(file)
    base: Profile | None = None
    if "extends" in document:
        base = _base(file, document.pop("extends"), project, extending)
        whole = base.model_dump(mode="json", exclude={"name", "image_of"}, exclude_unset=True)
        if document.get("guest", base.guest) != base.guest:
            raise ConfigurationError(
                f"Profile {file}: guest is {document['guest']!r}, but {base.name}, which it extends, is for"
                f" {base.guest!r}.",
                remedy=f"Remove guest from {file}, or extend another profile.",
            )
        document = _merged(whole, document)
    document.setdefault("name", file.stem)
    for internal in ("image_of", "untried_capabilities"):
        if internal in document:
            raise ConfigurationError(
                f"Profile {file}: {internal}: Extra inputs are not permitted.", remedy=f"Remove {internal}."
            )
    profile = _checked(file, document)
    if base and (shared := profile.shared_image(base)):
        profile = profile.model_copy(update={"image_of": shared})
    return profile


def _base(file: Path, extends: object, project: Path | None, extending: tuple[Path, ...]) -> Profile:
    if not isinstance(extends, str):
        raise ConfigurationError(
            f"Profile {file}: extends is {extends!r}, which is no name of a profile.",
            remedy='Write it as extends = "windows-11".',
        )
    try:
        found = _located(extends, project, file if extends == file.stem else None)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"Profile {file} extends {extends!r}, and there is no such profile.", remedy=error.remedy
        ) from error
    return _load(found, project, (*extending, file))


def _located(name: str, project: Path | None, after: Path | None) -> Path:
    """The file of a profile; with `after`, only in the folders after that file's own."""
    places = [folder for _, folder in folders(project)]
    if after:
        own = [folder.absolute() for folder in places]
        places = places[own.index(after.parent) + 1 :] if after.parent in own else places
    if NAME.fullmatch(name):
        for folder in places:
            if (folder / f"{name}.toml").is_file():
                return folder / f"{name}.toml"
    for file in misnamed(project):
        if file.stem == name:
            raise misnamed_error(file)
    known = sorted(one.name for one in listed(project))
    raise ConfigurationError(
        f"There is no guest profile {name!r}.{did_you_mean(name, known)}",
        remedy=f"Known profiles: {', '.join(known)}.",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigurationError(
                f"Profile {file} is larger than {LARGEST_FILE} bytes.", remedy="Name a profile's file."
            )
        return tomllib.loads(content.decode("utf-8-sig"))  # editors of Windows write a BOM
    except OSError as error:
        raise ConfigurationError(
            f"Profile {file} cannot be read: {error.strerror}.", remedy="Name one of vm/profiles/*.toml."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"Profile {file} is not TOML: {error}.", remedy="docs/windows-guest.md has an example."
        ) from error


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both tables merged, keys of `over` first: the first of `editions` is the preferred one."""
    merged = {}
    for key, value in over.items():
        below = base.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged | {key: value for key, value in base.items() if key not in over}


def _checked(file: Path, document: dict[str, Any]) -> Profile:
    try:
        return _profile_type(file, document).model_validate(document)
    except ValidationError as error:
        wrong = "; ".join(_explained(error))
        raise ConfigurationError(
            f"Profile {file}: {wrong}.",
            remedy="docs/windows-guest.md and vm/profiles show what a profile may hold.",
        ) from error


def _profile_type(file: Path, document: dict[str, Any]) -> type[Profile]:
    guest = document.get("guest")
    if not isinstance(guest, str):
        return Profile  # its validation reports the missing key
    try:
        flavour = FLAVOURS.find(guest)
    except ConfigurationError as error:
        raise ConfigurationError(f"Profile {file}: guest: {error.message}", remedy=error.remedy) from error
    found = getattr(flavour, "profile_type", None)
    if not (isinstance(found, type) and issubclass(found, Profile)):
        raise ConfigurationError(
            f"Profile {file}: guest: the flavour {guest!r} has no type of profile.",
            remedy="Its profile_type must be a subclass of harness.project.profile.Profile.",
        )
    return found


def _explained(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        yield f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
