"""Installing a driver by its INF package on a Windows guest, with pnputil.

Syntax and exit codes are those of Microsoft's documentation of PnPUtil (Windows 10, version 1607 and later).
No real Windows has run these commands yet: what is tested is that they are the documented ones.
"""

from __future__ import annotations

import re
from pathlib import PureWindowsPath

from harness.errors import DriverLoadError

PNPUTIL = r"C:\Windows\System32\pnputil.exe"
_PUBLISHED = re.compile(r"\boem\d{1,6}\.inf\b", re.IGNORECASE)

NO_MATCHING_DEVICE = 259
REBOOT_INITIATED = 1641
REBOOT_REQUIRED = 3010


def add_command(inf: PureWindowsPath) -> tuple[str, ...]:
    """Adds a package to the driver store and installs it on the devices it matches."""
    return (PNPUTIL, "/add-driver", str(inf), "/install")


def delete_command(published: str) -> tuple[str, ...]:
    """Uninstalls a package from its devices and deletes it, even when it is in use.

    Raises:
        ValueError: `published` is not the store's own name of a package, `oem<number>.inf`.
    """
    if not _PUBLISHED.fullmatch(published):
        raise ValueError(f"{published!r} is not a published name like oem12.inf")
    return (PNPUTIL, "/delete-driver", published, "/uninstall", "/force")


def published_name(inf: PureWindowsPath, exit_code: int, output: str) -> str:
    """The store's name of a package that `add_command` added.

    Only the name itself is looked for: the words around it are in the guest's language.

    Raises:
        DriverLoadError: pnputil refused the package, no device matches it, or the guest must restart first.
    """
    if exit_code == NO_MATCHING_DEVICE:
        raise DriverLoadError(
            f"{inf} was added, but no device takes it, or each has a better driver already.",
            remedy="Create a device with the INF's hardware id in the guest first.",
            detail=output,
        )
    if exit_code in (REBOOT_INITIATED, REBOOT_REQUIRED):
        raise DriverLoadError(
            f"{inf} needs a restart of the guest.", remedy="Make the INF install without one.", detail=output
        )
    names = _PUBLISHED.findall(output)
    if exit_code != 0 or not names:
        raise DriverLoadError(
            f"pnputil did not install {inf}: exit code {exit_code}.",
            remedy=r"Read C:\Windows\INF\setupapi.dev.log in the guest; is the catalogue signed?",
            detail=output,
        )
    return str(names[0]).lower()
