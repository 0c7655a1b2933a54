"""Explains why Windows did not start a driver service: name of the error, and its remedy."""

from __future__ import annotations

from harness.agent.protocol import Loaded
from harness.errors import ContractError, DriverLoadError

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
    1056: ("ERROR_SERVICE_ALREADY_RUNNING", "An earlier driver was not stopped; revert the guest."),
    1058: ("ERROR_SERVICE_DISABLED", "The service is disabled in the guest; revert the guest."),
    1068: ("ERROR_SERVICE_DEPENDENCY_FAIL", "A driver that this one depends on did not start."),
    1072: ("ERROR_SERVICE_MARKED_FOR_DELETE", "A handle to the old service is still open; revert the guest."),
    1077: ("ERROR_SERVICE_NEVER_STARTED", "The service did not start; see the debug log."),
    1114: (
        "ERROR_DLL_INIT_FAILED",
        "DriverEntry failed, or (Wine) the .sys file is missing; see dbgprint.log.",
    ),
    1275: ("ERROR_DRIVER_BLOCKED", "The guest's policy blocks the driver; test-sign it, or lift the policy."),
    1450: ("ERROR_NO_SYSTEM_RESOURCES", "DriverEntry ran out of resources; check what it allocates."),
}


def load_error(service: str, sys_path: str, answer: Loaded) -> ContractError | DriverLoadError:
    """The error for a `loaded` event of a driver that is not usable."""
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
    name, remedy = _ERRORS.get(answer.error_code, ("", "See the driver's DbgPrint output in dbgprint.log."))
    error = f"{answer.error_code} {name}".strip()
    return DriverLoadError(
        f"Windows did not start the driver service {service!r} with {sys_path}: error {error}: {said}",
        remedy=remedy,
        detail=answer.message,
    )
