"""Writes a CI workflow for a project's driver: from harness/templates/ci/, with the project's own values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from harness.errors import ConfigurationError
from harness.project.config import Config
from harness.project.scaffold import TEMPLATES, Written, write_files

FORGES = {"github": ".github/workflows/winvm.yml", "gitlab": ".gitlab-ci.yml"}
"""Forge -> where in a repository it reads a workflow."""
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")
"""A scalar that YAML reads as this text, and a shell as one word."""


def write_workflow(forge: str, config: Config, image_key: Callable[[str], str]) -> Written:
    """Writes the workflow at the root of the git repository that holds the project; overwrites nothing.

    Args:
        forge: a key of `FORGES`.
        image_key: the key of a profile's image: `winvm image key`.

    Raises:
        ConfigurationError: a name cannot stand in a workflow, or nothing can be written.
    """
    root = _repository(config.root)
    folder = os.path.relpath(config.root, root)
    artifacts = os.path.relpath(config.artifacts_folder, root)
    if artifacts.startswith(".."):
        raise ConfigurationError(
            f"The artifacts folder {config.artifacts_folder} is outside the repository {root}.",
            remedy="Choose a folder inside it with artifacts.folder in winvm.toml: a CI job keeps no other.",
        )
    guest = config.guest.profile
    values = {
        "WINVM_ARTIFACTS": _word(artifacts, "artifacts.folder"),
        "WINVM_BUILDS": ", ".join(_scalar(build, "driver.builds") for build in config.driver.builds),
        "WINVM_FOLDER": _word(folder, "the project's folder"),
        "WINVM_IMAGE_KEY": image_key(guest),
        "WINVM_GUEST": _word(guest, "guest.profile"),
        "WINVM_VERSION": version("winvm"),
    }
    text = (TEMPLATES / "ci" / f"{forge}.yml").read_text(encoding="utf-8")
    text = re.sub("|".join(values), lambda found: values[found[0]], text)
    return write_files({FORGES[forge]: text}, root)


def _repository(folder: Path) -> Path:
    """The root of the git repository around a folder; the folder itself if there is none."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), folder)


def _word(text: str, what: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ConfigurationError(
            f"{what} is {text!r}, which a workflow cannot name without quotes.",
            remedy="Use letters, digits, `_`, `.`, `/` and `-` only.",
        )
    return text


def _scalar(text: str, what: str) -> str:
    """A build's name as YAML: quoted, since `on` or `1.0` would be no text."""
    if not text.isprintable():
        _word(text, what)
    return json.dumps(text, ensure_ascii=False)
