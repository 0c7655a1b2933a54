"""The message for a module that a scenario imports and that does not exist: which one, why, what to do."""

from __future__ import annotations

import sys
from collections.abc import Collection


def missing_module(error: ModuleNotFoundError, siblings: Collection[str]) -> str:
    """The message, without a full stop.

    Args:
        error: what the import raised.
        siblings: names of the modules in the project's scenario folders.
    """
    name = error.name or str(error)
    top, _, rest = name.partition(".")
    if top == "scenarios" and rest:
        return (
            f"there is no module {name}. Only the *.py files directly in a scenario folder are in the guest, "
            f"as scenarios.NAME: {', '.join(siblings) or 'none'}"
        )
    if top in siblings:
        return f"there is no module {name}. Scenario modules form a package: `from scenarios import {top}`"
    if top in sys.stdlib_module_names:
        return (
            f"the module {name} of the standard library does not exist on {sys.platform}. Scenario modules "
            "are imported on the Linux host, to list them, and in the Windows guest. Import such a module in "
            "the function that uses it"
        )
    return (
        f"there is no module {name}. The guest has CPython's standard library, agent, and the modules of the "
        f"project's scenario folders, but no other package. Copy {top}.py into a scenario folder and write "
        f"`from scenarios import {top}`, or use {top} in a test file, which runs on the host"
    )
