"""The part of Windows PowerShell's language and cmdlets that provisioning scripts may use.

Statements, pipelines, cmdlets with named parameters, single-quoted strings, `$true`, `$env:NAME`, parentheses
and `& 'script'`. A parameter that a cmdlet does not have is an error, as is whatever the cmdlet would refuse.
Without `$ErrorActionPreference='Stop'` an error leaves exit code 0, and unless `$WarningPreference` says
otherwise warnings are among the output, as they are in PowerShell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provision.machine import Completed

if TYPE_CHECKING:
    from tests.fakes.windows_tools import FakeWindows

TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[;|()&=]|[^\s;|()&='\"]+|\S)")
OPTIONS = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command")
Item = Any
Parameters = dict[str, Any]


class PowerShellError(Exception):
    """A terminating error, or one that `Stop` makes terminating."""


@dataclass(frozen=True)
class Cmdlet:
    """`run` gets the machine, the parameters by small name, and the pipeline's input."""

    run: Callable[[FakeWindows, Parameters, list[Item]], list[Item]]
    values: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    position: str = ""  # the parameter that a first argument without a name is for


def powershell(
    machine: FakeWindows, arguments: list[str], environment: Mapping[str, str], cmdlets: Mapping[str, Cmdlet]
) -> Completed:
    if tuple(arguments[:-1]) != OPTIONS or '"' in arguments[-1]:
        return Completed(1, "", "The argument is not recognized, or the script's quotes are lost on the way.")
    session = _Session(machine, environment, cmdlets, _tokens(arguments[-1]))
    try:
        session.statements()
    except PowerShellError as error:
        stop = session.variables.get("erroractionpreference") == "Stop"
        return Completed(int(stop), session.text(), f"{error}\r\n")
    return Completed(0, session.text(), "")


def _tokens(script: str) -> list[str]:
    return [match[1] for match in TOKEN.finditer(script.strip())]


class _Session:
    def __init__(
        self,
        machine: FakeWindows,
        environment: Mapping[str, str],
        cmdlets: Mapping[str, Cmdlet],
        tokens: list[str],
    ) -> None:
        self._machine = machine
        self._environment = environment
        self._cmdlets = cmdlets
        self._tokens = tokens
        self._printed: list[str] = []
        self.variables: dict[str, Any] = {"true": True, "false": False}

    def text(self) -> str:
        return "".join(f"{line}\r\n" for line in self._printed)

    def statements(self) -> None:
        while self._tokens:
            if self._tokens[1:2] == ["="]:
                name = self._take().removeprefix("$").lower()
                self._take()
                self.variables[name] = self._value()
            else:
                self._printed += [_printed(item) for item in self._pipeline() if item is not None]
            if self._tokens and (end := self._take()) != ";":
                raise PowerShellError(f"Unexpected token '{end}' in expression or statement.")

    def _pipeline(self) -> list[Item]:
        items = self._command([])
        while self._tokens[:1] == ["|"]:
            self._take()
            items = self._command(items)
        return items

    def _command(self, items: list[Item]) -> list[Item]:
        name = self._take()
        if name == "&":
            path = str(self._value())
            asks = self._tokens[:1] != ["-Confirm:$false"]
            if not asks:
                self._take()
            return self._machine.run_script(path, asks=asks)
        cmdlet = self._cmdlets.get(name.lower())
        if cmdlet is None:
            raise PowerShellError(f"The term '{name}' is not recognized as the name of a cmdlet.")
        parameters: Parameters = {}
        while self._tokens and self._tokens[0] not in (";", "|", ")"):
            word = self._tokens[0]
            key = word[1:].lower()
            if key.endswith(":$false") and key.removesuffix(":$false") in map(str.lower, cmdlet.switches):
                self._take()
                parameters[key.removesuffix(":$false")] = False
                continue
            if word.startswith("-") and key in map(str.lower, cmdlet.switches):
                self._take()
                parameters[key] = True
            elif word.startswith("-") and key in (*map(str.lower, cmdlet.values), "erroraction"):
                self._take()
                parameters[key] = self._value()
            elif word.startswith("-"):
                raise PowerShellError(f"{name}: A parameter cannot be found that matches name '{word[1:]}'.")
            elif cmdlet.position and cmdlet.position not in parameters:
                parameters[cmdlet.position] = self._value()
            else:
                raise PowerShellError(
                    f"{name}: A positional parameter cannot be found that accepts '{word}'."
                )
        try:
            return cmdlet.run(self._machine, parameters, items)
        except PowerShellError:
            if parameters.get("erroraction") == "SilentlyContinue":
                return []
            raise
        finally:
            warned, self._machine.warnings = self._machine.warnings, []
            if self.variables.get("warningpreference") != "SilentlyContinue":
                self._printed += [f"WARNING: {text}" for text in warned]

    def _value(self) -> Any:
        word = self._take()
        if word == "(":
            found = self._pipeline()
            if self._take() != ")":
                raise PowerShellError("Missing closing ')' in expression.")
            return found[0] if len(found) == 1 else found
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if word.lower().startswith("$env:"):
            return self._environment.get(word[5:])
        if word.startswith("$"):
            return self.variables.get(word[1:].lower())
        return int(word) if word.isdigit() else word

    def _take(self) -> str:
        if not self._tokens:
            raise PowerShellError("The script ends where more was expected.")
        return self._tokens.pop(0)


def _printed(item: Item) -> str:
    assert not isinstance(item, dict), f"a script prints an object, which no reader can rely on: {item}"
    return str(item)
