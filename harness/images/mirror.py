"""Where a Debian guest's packages come from: `--mirror`, `WINVM_MIRROR`, else the mirror of a Debian host.

The mirror is no part of an image's digest: packages are verified by Debian's signatures, wherever they lie.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.host import programs

VARIABLE = "WINVM_MIRROR"
APT_SECONDS = 60.0
_MIRROR = re.compile(r"(https?://|file:/|copy:/)[!-~]+")
_CHOOSE = f"Name a mirror of Debian: `winvm image build --mirror URL`, or {VARIABLE}=URL in the environment."


def chosen(given: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The mirror that was named; empty if none was.

    Args:
        given: by `--mirror`, where `WINVM_MIRROR` then means nothing, even if this is empty.

    Raises:
        ConfigurationError: it is no address of a mirror.
    """
    source, named = (VARIABLE, environment.get(VARIABLE, "")) if given is None else ("--mirror", given)
    if named and not _MIRROR.fullmatch(named):
        raise ConfigurationError(
            f"{source} is {named!r}, which is no address of a package mirror.",
            remedy="Use an address that begins with http://, https://, file:/ or copy:/.",
        )
    return named


def debian_mirror(os_release: Path = Path("/etc/os-release"), given: str | None = None) -> str:
    """The mirror that was chosen, or that from which this host takes its own Debian release.

    Args:
        given: see `chosen`.

    Raises:
        ConfigurationError: see `chosen`.
        HostError: the host is not Debian, or apt is missing or names no mirror.
    """
    if named := chosen(given):
        return named
    try:
        text = os_release.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    release = {
        name: value.strip("\"'") for name, _, value in (line.partition("=") for line in text.splitlines())
    }
    if release.get("ID") != "debian":
        raise HostError(
            f"This host is {release.get('PRETTY_NAME') or 'not Debian'}: which mirror has Debian's packages "
            "for the guest image is not known.",
            remedy=_CHOOSE,
        )
    try:
        listed = programs.run(
            ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
            Deadline.after(APT_SECONDS),
        )
    except (OSError, HostError) as error:
        raise HostError(f"apt does not say which mirror this host uses: {error}.", remedy=_CHOOSE) from error
    targets = listed.text.split("\n") if listed.code == 0 else []
    codename = release.get("VERSION_CODENAME", "")
    for target in targets:
        name, _, mirror = target.partition(" ")
        if name == codename and mirror:
            return mirror
    raise HostError(
        f"apt has no package index of this host's release {codename!r}.",
        remedy=f"Run: apt-get update, and check /etc/apt/sources.list.d. {_CHOOSE}",
    )
