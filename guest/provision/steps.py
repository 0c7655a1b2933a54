"""Steps as data: how a setting is read, its wanted value, the actions that set it, and if it needs a restart.

A reading gives a set of strings. A setting is as wanted when that set equals the wanted set. The same rule
serves "exactly these drivers are verified", "no HTTP listener" and "this value is 2".
"""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, field
from typing import Protocol

from provision.machine import Completed, Data, Kind, Machine, ProvisionError, RegistryData

MAX_OUTPUT = 300  # characters of a failed command's output in a message


class Action(Protocol):
    """One change of the machine."""

    def apply(self, machine: Machine) -> None:
        """Makes the change; raises `ProvisionError`."""


class Reading(Protocol):
    """Reads one thing from the machine."""

    def read(self, machine: Machine) -> frozenset[str]:
        """The present value; raises `ProvisionError`."""


@dataclass(frozen=True)
class Command:
    """A program with its arguments. Secrets go into `environment`. Neither arguments nor secrets are shown.

    Attributes:
        ok: exit codes that mean success.
    """

    argv: tuple[str, ...] = field(repr=False)
    ok: tuple[int, ...] = (0,)
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = 120.0

    def apply(self, machine: Machine) -> None:
        """Runs it; raises `ProvisionError` for any other exit code."""
        self.output(machine)

    def output(self, machine: Machine) -> str:
        """Runs it and returns its standard output; raises `ProvisionError` for any other exit code."""
        done = machine.run(self.argv, dict(self.environment), self.timeout_s)
        if done.code not in self.ok:
            raise ProvisionError(f"{self.argv[0]} ended with exit code {_code(done)}: {_said(done)}")
        return done.stdout


@dataclass(frozen=True)
class Retried:
    """An action that may fail for a moment, as a download does.

    Attributes:
        explained: parts of known error messages, and what they mean; added to the last try's error.
    """

    action: Action
    tries: int
    pause_s: float
    explained: tuple[tuple[str, str], ...] = ()

    def apply(self, machine: Machine) -> None:
        """Raises `ProvisionError` if every try fails."""
        for _ in range(self.tries - 1):
            try:
                return self.action.apply(machine)
            except ProvisionError:
                machine.pause(self.pause_s)
        try:
            self.action.apply(machine)
        except ProvisionError as error:
            meant = [meaning for part, meaning in self.explained if part in str(error).lower()]
            raise ProvisionError("; ".join([str(error), *meant])) from error


@dataclass(frozen=True)
class SetValue:
    """Sets a registry value."""

    key: str
    name: str
    data: RegistryData

    def apply(self, machine: Machine) -> None:
        """See `Machine.set_value`."""
        machine.set_value(self.key, self.name, self.data)


@dataclass(frozen=True)
class DeleteValue:
    """Deletes a registry value."""

    key: str
    name: str

    def apply(self, machine: Machine) -> None:
        """See `Machine.delete_value`."""
        machine.delete_value(self.key, self.name)


@dataclass(frozen=True)
class CopyFile:
    """Copies one file."""

    source: str
    target: str

    def apply(self, machine: Machine) -> None:
        """Raises `ProvisionError`, also when the source is missing."""
        content = machine.read_file(self.source)
        if content is None:
            raise ProvisionError(f"{self.source} is missing")
        machine.write_file(self.target, content)


@dataclass(frozen=True)
class CopyFolder:
    """Copies a folder with all below it."""

    source: str
    target: str

    def apply(self, machine: Machine) -> None:
        """See `Machine.copy_folder`."""
        machine.copy_folder(self.source, self.target)


@dataclass(frozen=True)
class RemoveFile:
    """Removes one file."""

    path: str

    def apply(self, machine: Machine) -> None:
        """See `Machine.remove_file`."""
        machine.remove_file(self.path)


@dataclass(frozen=True)
class Output:
    """Matches of `find` in a command's output, without blanks and in small letters; groups joined by `=`.

    Tools are localised: `find` may match names, numbers and what the user typed, but no sentences.
    """

    command: Command
    find: str

    def read(self, machine: Machine) -> frozenset[str]:
        """Runs the command; raises `ProvisionError`."""
        found = re.finditer(self.find, self.command.output(machine), re.MULTILINE | re.IGNORECASE)
        return frozenset("".join("=".join(match.groups() or [match[0]]).split()).lower() for match in found)


@dataclass(frozen=True)
class Value:
    """A registry value with its type; empty if it does not exist. With `find`, the matches in its text."""

    key: str
    name: str
    find: str = ""

    def read(self, machine: Machine) -> frozenset[str]:
        """See `Machine.value`."""
        found = machine.value(self.key, self.name)
        if found is None:
            return frozenset()
        return frozenset(re.findall(self.find, str(found.data))) if self.find else frozenset({str(found)})


@dataclass(frozen=True)
class Digest:
    """SHA-256 of a file; empty when it does not exist."""

    path: str

    def read(self, machine: Machine) -> frozenset[str]:
        """See `Machine.read_file`."""
        content = machine.read_file(self.path)
        return frozenset() if content is None else frozenset({hashlib.sha256(content).hexdigest()})


@dataclass(frozen=True)
class CodeIntegrity:
    """`on` or `off`: one option of the running kernel's code integrity."""

    option: int

    def read(self, machine: Machine) -> frozenset[str]:
        """See `Machine.code_integrity`."""
        return frozenset({"on" if machine.code_integrity() & self.option else "off"})


@dataclass(frozen=True)
class Setting:
    """One setting: its reading, its wanted value and the actions that set it.

    Attributes:
        wanted: None for a reading that only informs: the self-check reports what it finds.
        actions: what sets it, in order; empty for a setting that takes effect only with a restart. Such a
            setting is read only in the self-check.
        secret: neither the found value nor the wanted one may be shown.
    """

    name: str
    wanted: frozenset[str] | None
    reading: Reading
    actions: tuple[Action, ...] = ()
    secret: bool = False


class Failure(enum.Enum):
    """What a failed step means for the steps after it."""

    GO_ON = "go on"
    STOP = "stop"


@dataclass(frozen=True)
class Step:
    """Settings that belong together, changed in this order.

    Attributes:
        restart: whether a change takes effect only when Windows starts again.
        wished: whether the guest is of use without it: the self-check then reports it and does not fail.
    """

    name: str
    settings: tuple[Setting, ...]
    restart: bool = False
    failure: Failure = Failure.GO_ON
    wished: bool = False


def registry_value(key: str, name: str, kind: Kind, data: Data) -> Setting:
    """The value `name` of `key` shall be this."""
    wanted = RegistryData(kind, data)
    return Setting(name, frozenset({str(wanted)}), Value(key, name), (SetValue(key, name, wanted),))


def dword(key: str, name: str, number: int) -> Setting:
    """The value `name` of `key` shall be this number; True is 1 and False 0."""
    return registry_value(key, name, Kind.DWORD, int(number))


def no_value(key: str, name: str) -> Setting:
    """`key` shall have no value `name`."""
    return Setting(name, frozenset(), Value(key, name), (DeleteValue(key, name),))


def no_file(path: str) -> Setting:
    """There shall be no file `path`."""
    return Setting(f"no {path}", frozenset(), Digest(path), (RemoveFile(path),))


def _code(done: Completed) -> str:
    return f"{done.code:#010x}" if done.code >= 1 << 16 else str(done.code)


def _said(done: Completed) -> str:
    """The end of the command's output: tools print the reason last."""
    text = " ".join((done.stderr.strip() or done.stdout.strip()).split())
    return text[-MAX_OUTPUT:] or "it printed nothing"
