"""Compares the contract of the scenarios with the contract that the loaded driver reports by HELLO.

A contract module (generated) declares HELLO_DEVICE, HELLO_CODE, CONTRACT_VERSION, CONTRACT_HASH and the
`Hello` structure with `version` and `hash`. If a user's contract declares no HELLO, nothing is checked.
"""

from __future__ import annotations

import ctypes
import importlib
from types import ModuleType

from agent.errors import Win32Error
from agent.guest import Guest
from agent.win32.handle import Scope

REBUILD = "Build and deploy the driver and the scenarios from the same header."


def contract_mismatch(contract: str, guest: Guest, scope: Scope) -> str:
    """Says how driver and scenarios differ; empty when they agree or no HELLO is declared.

    Args:
        contract: name of the contract module in the scenario folders.

    Raises:
        ImportError: there is no such module.
    """
    module = importlib.import_module(f"scenarios.{contract}")
    if not hasattr(module, "HELLO_CODE"):
        return ""
    try:
        answer = guest.hello(
            str(module.HELLO_DEVICE), int(module.HELLO_CODE), ctypes.sizeof(module.Hello), scope
        )
    except Win32Error as error:
        return f"The driver does not answer HELLO ({error}); it was built without this contract. {REBUILD}"
    return _difference(module, answer)


def _difference(module: ModuleType, answer: bytes) -> str:
    size = ctypes.sizeof(module.Hello)
    if len(answer) != size:
        return f"The driver's HELLO has {len(answer)} bytes, the scenarios expect {size}. {REBUILD}"
    hello = module.Hello.from_buffer_copy(answer)
    theirs, ours = bytes(hello.hash), bytes(module.CONTRACT_HASH)
    if (hello.version, theirs) == (module.CONTRACT_VERSION, ours):
        return ""
    return (
        f"The driver has contract version {hello.version} ({theirs.hex()[:16]}), the scenarios are "
        f"generated from version {module.CONTRACT_VERSION} ({ours.hex()[:16]}). {REBUILD}"
    )
