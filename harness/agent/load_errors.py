"""Explains why Windows did not start a driver service: what DriverEntry returned and printed, or the error.

The service control manager turns DriverEntry's NTSTATUS into a Win32 code, many into one. The log of some
guests has the status itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.agent.protocol import Loaded
from harness.display.terminal import printable
from harness.dumps.ntstatus import NTSTATUS
from harness.errors import ContractError, DriverLoadError
from harness.interfaces import EntryStatus
from harness.outcome import DebugRecord

PRINTED = 10
"""The last lines of DriverEntry's own output that are shown."""

_ERRORS: dict[int, tuple[str, str]] = {
    2: ("ERROR_FILE_NOT_FOUND", "The .sys file, or a module it imports, is missing in the guest."),
    3: ("ERROR_PATH_NOT_FOUND", "The folder of the .sys file is missing in the guest."),
    5: ("ERROR_ACCESS_DENIED", "DriverEntry returned STATUS_ACCESS_DENIED, or the agent is not elevated."),
    8: ("ERROR_NOT_ENOUGH_MEMORY", "DriverEntry ran out of resources; check what it allocates."),
    31: ("ERROR_GEN_FAILURE", "DriverEntry returned STATUS_UNSUCCESSFUL; see its DbgPrint output."),
    87: (
        "ERROR_INVALID_PARAMETER",
        "DriverEntry passed or returned an invalid parameter; see its DbgPrint output.",
    ),
    127: ("ERROR_PROC_NOT_FOUND", "The driver imports a function that this guest's kernel does not export."),
    183: (
        "ERROR_ALREADY_EXISTS",
        "A device or link of this name exists; is another copy of the driver loaded?",
    ),
    193: ("ERROR_BAD_EXE_FORMAT", "The .sys file is not a 64-bit Windows driver; build it for x64."),
    216: ("ERROR_EXE_MACHINE_TYPE_MISMATCH", "The .sys file is for another processor; build it for x64."),
    577: ("ERROR_INVALID_IMAGE_HASH", "Sign the driver, and turn on test signing in the guest."),
    998: ("ERROR_NOACCESS", "DriverEntry touched invalid memory; see the debug log."),
    1053: (
        "ERROR_SERVICE_REQUEST_TIMEOUT",
        "DriverEntry did not return in time: it waits or loops, unless the host is very busy. The line of "
        "dbgprint.log that it printed last shows how far it came.",
    ),
    1056: ("ERROR_SERVICE_ALREADY_RUNNING", "An earlier driver was not stopped; revert the guest."),
    1058: ("ERROR_SERVICE_DISABLED", "The service is disabled in the guest; revert the guest."),
    1068: ("ERROR_SERVICE_DEPENDENCY_FAIL", "A driver that this one depends on did not start."),
    1072: ("ERROR_SERVICE_MARKED_FOR_DELETE", "A handle to the old service is still open; revert the guest."),
    1077: ("ERROR_SERVICE_NEVER_STARTED", "The service did not start; see the debug log."),
    1114: (
        "ERROR_DLL_INIT_FAILED",
        "DriverEntry failed, or the .sys file is missing; see dbgprint.log.",
    ),
    1275: ("ERROR_DRIVER_BLOCKED", "The guest's policy blocks the driver; test-sign it, or lift the policy."),
    1450: ("ERROR_NO_SYSTEM_RESOURCES", "DriverEntry ran out of resources; check what it allocates."),
}

SILENT = "Let its error paths print (DbgPrint), or read what DriverEntry asks for before it returns."


def load_error(
    service: str,
    sys_path: str,
    answer: Loaded,
    records: Sequence[DebugRecord] = (),
    returned: EntryStatus | None = None,
) -> ContractError | DriverLoadError:
    """The error for a `loaded` event of a driver that is not usable.

    Args:
        records: the debug output since the load began.
        returned: what DriverEntry returned, if the guest's log says so.
    """
    said = answer.message[:500]
    if answer.contract_mismatch:
        return ContractError(
            f"The driver {sys_path} and the agent were built from different contracts: {said}",
            remedy="Build both from the same header: `make build`.",
            detail=answer.message,
        )
    if answer.error_code == 0:
        return DriverLoadError(
            f"The driver service {service!r} with {sys_path} is not usable: {said}",
            remedy="See the driver's DbgPrint output in dbgprint.log.",
            detail=answer.message,
        )
    printed = [printable(record.text) for record in records if record.source == "dbgprint"][-PRINTED:]
    if returned is not None:
        return _entry_failed(service, sys_path, returned, printed)
    name, remedy = _ERRORS.get(answer.error_code, ("", "See the driver's DbgPrint output in dbgprint.log."))
    error = f"{answer.error_code} {name}".strip()
    return DriverLoadError(
        f"Windows did not start the driver service {service!r} with {sys_path}: error {error}: {said}",
        remedy=remedy,
        detail=answer.message,
    )


def _entry_failed(service: str, sys_path: str, entry: EntryStatus, printed: Sequence[str]) -> DriverLoadError:
    name = NTSTATUS.get(entry.status, "")
    returned = f"{name} (0x{entry.status:08x})" if name else f"0x{entry.status:08x}"
    last = f" It printed last: '{printed[-1]}'." if printed else " It printed nothing."
    if entry.limit:
        return DriverLoadError(
            f"Not shown on this guest: DriverEntry of {service!r} returned {returned}, a success code. "
            f"{entry.limit}.{last}",
            remedy="Return STATUS_SUCCESS, or run the driver on a Windows guest.",
            detail="\n".join(printed),
        )
    return DriverLoadError(
        f"Windows did not start the driver service {service!r} with {sys_path}: DriverEntry returned "
        f"{returned}.{last}",
        remedy="All that it printed is in dbgprint.log." if printed else SILENT,
        detail="\n".join(printed),
    )
