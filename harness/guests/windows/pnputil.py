"""Installing a driver by its INF package on a Windows guest, with pnputil.

Syntax and exit codes are those of Microsoft's documentation of PnPUtil (Windows 10, version 1607 and later)
and of certutil. No real Windows has run these commands for winvm yet: the tests check that the commands are
the documented ones, and that published outputs are read correctly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PureWindowsPath

from harness.deadline import Deadline
from harness.errors import DriverLoadError
from harness.interfaces import Transport

CERTUTIL = r"C:\Windows\System32\certutil.exe"
STORES = ("Root", "TrustedPublisher")
"""Stores that must hold a catalogue's signer: otherwise Windows asks whether to install the driver."""
PNPUTIL = r"C:\Windows\System32\pnputil.exe"
_PUBLISHED = re.compile(r"\boem\d{1,6}\.inf\b", re.IGNORECASE)

NO_MATCHING_DEVICE = 259
REBOOT_INITIATED = 1641
REBOOT_REQUIRED = 3010
INF_IN_USE_BY_DEVICES = 0xE000023D  # setupapi.h


def install(
    transport: Transport, inf: PureWindowsPath, certificates: Iterable[str], deadline: Deadline
) -> str:
    """Installs a package that is in the guest; returns the store's name of it.

    Args:
        certificates: guest paths of the certificates to trust first.

    Raises:
        DriverLoadError: Windows refuses a certificate or the package.
        TransportError, DeadlineError: the guest does not answer; the driver may have taken it down.
    """
    for certificate in certificates:
        for store in STORES:
            done = transport.run(trust_command(store, certificate), deadline)
            if done.exit_code:
                raise DriverLoadError(
                    f"certutil did not add {certificate} to {store}: exit code {done.exit_code:#x}.",
                    remedy="It must be a certificate, DER or base64.",
                    detail=_text(done.stdout + done.stderr),
                )
    done = transport.run(add_command(inf), deadline)
    return published_name(inf, done.exit_code, _text(done.stdout + done.stderr))


def uninstall(transport: Transport, published: str, deadline: Deadline) -> None:
    """Removes an installed package and its driver.

    Raises:
        DriverLoadError: Windows does not remove it.
        TransportError, DeadlineError: the guest does not answer; the driver may have taken it down.
    """
    done = transport.run(delete_command(published), deadline)
    check_deleted(published, done.exit_code, _text(done.stdout + done.stderr))


def trust_command(store: str, certificate: str) -> tuple[str, ...]:
    """Adds a certificate to one of the machine's stores; one that is there already is no error."""
    return (CERTUTIL, "-f", "-addstore", store, certificate)


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


def check_deleted(published: str, exit_code: int, output: str) -> None:
    """Raises `DriverLoadError` unless pnputil deleted the package at once."""
    if exit_code in (REBOOT_INITIATED, REBOOT_REQUIRED):
        raise DriverLoadError(
            f"{published} is removed only when the guest restarts.",
            remedy="Close every handle to its devices, and check its DriverUnload.",
            detail=output,
        )
    if exit_code:
        reason = (
            "a device still uses it" if exit_code == INF_IN_USE_BY_DEVICES else f"exit code {exit_code:#x}"
        )
        raise DriverLoadError(
            f"pnputil did not delete {published}: {reason}.",
            remedy=r"Read C:\Windows\INF\setupapi.dev.log in the guest.",
            detail=output,
        )


def _text(output: bytes) -> str:
    """The output as text; its code page does not matter, because only ASCII names are searched."""
    return output.decode("ascii", "backslashreplace")
