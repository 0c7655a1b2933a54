"""C functions that are `inline` and nothing else: cl emits and merges them, C leaves them out.

Where optimisation inlines every call, nothing is missing. Otherwise the linker misses the function, and the
first unit that refers to it and reads its definition is compiled again by the rules of GNU C 89, which emit
it there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from harness.toolchain.clang.commands import Command
from harness.toolchain.wdk.text import source_text

EMIT = "-fgnu89-inline"
_MISSING = re.compile(r"undefined symbol: ([A-Za-z_]\w*)\s*$", re.MULTILINE)


def emitting_inlines(commands: Sequence[Command], said: str) -> tuple[Command, ...] | None:
    """The commands with `EMIT` in those of the units that emit what is missing; None if nothing is inline.

    Args:
        said: the linker's output; it names undefined symbols and the objects that refer to them.
    """
    emitting: set[Command] = set()
    for missing in _MISSING.finditer(said):
        after = _MISSING.search(said, missing.end())
        references = said[missing.end() : after.start() if after else None]
        defined = re.compile(
            rb"\b(?:__|_)?inline\b[^;{}()]{0,200}\b" + missing[1].encode() + rb"\s*\([^;]{0,2000}?\)\s*\{"
        )
        for command in commands:
            refers = command.unit.language == "c" and command.object.name in references
            if refers and any(defined.search(source_text(path)) for path in command.read()):
                emitting.add(command)
                break
    if not emitting:
        return None
    return tuple(_emitting(command) if command in emitting else command for command in commands)


def _emitting(command: Command) -> Command:
    """The command with the option before the unit's own, which stand last."""
    at = command.argv.index("-MMD")
    return dataclasses.replace(command, argv=(*command.argv[:at], EMIT, *command.argv[at:]))
