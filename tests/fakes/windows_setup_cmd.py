"""The part of cmd.exe that the answer file's commands and the CD's scripts use, on a fake Windows.

A command that is not known ends with 9009, as cmd.exe has it; a script's lines are carried out one by one.
Source: Microsoft Learn: cmd, for, if, goto, call, echo, copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from provision.machine import ProvisionError

from tests.fakes.windows_tools import FakeWindows

NOT_FOUND = 9009
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_VARIABLE = re.compile(r"%%|%~dp0|%(\w+)%")
_FOR = re.compile(r"for %(\w) in \(([^)]*)\) do (.*)", re.IGNORECASE)
_IF = re.compile(r"if (not )?(exist (\S+)|errorlevel (\d+)|(\d+) (GEQ|LEQ) (\d+)) (.*)", re.IGNORECASE)
_TO = re.compile(r"(.*?)>\s*(\S+)\s*$")

Program = Callable[[list[str]], int]


class Cmd:
    """One cmd.exe.

    Args:
        write: gets what is written to a serial port, and the port's name.
        programs: name without folder, in lower case -> what it does with its arguments; others are the
            machine's own.
    """

    def __init__(
        self, machine: FakeWindows, write: Callable[[str, str], None], programs: Mapping[str, Program]
    ) -> None:
        self._machine = machine
        self._write = write
        self._programs = programs
        self._variables = {"SYSTEMROOT": r"C:\Windows"}
        self._label: str | None = None
        self.code = 0

    def run(self, line: str) -> int:
        """A command line as CreateProcess gets it; returns the exit code."""
        self._command(line, "")
        return self.code

    def script(self, path: str) -> None:
        """A .cmd file; a label that it lacks ends it."""
        text = (self._machine.read_file(path) or b"").decode("ascii")
        assert "\n" not in text.replace("\r\n", ""), f"{path}: cmd.exe loses labels without carriage returns"
        lines = text.split("\r\n")
        folder = path.rpartition("\\")[0] + "\\"
        at = 0
        while at < len(lines):
            line, at = lines[at].strip(), at + 1
            if not line.startswith(":"):
                self._command(self._expanded(line.removeprefix("@"), folder), folder)
            if self._label is not None:
                at, self._label = lines.index(f":{self._label}"), None

    def _expanded(self, line: str, folder: str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[0] == "%%":
                return "%"
            if found[0] == "%~dp0":
                return folder
            name = found[1].upper()
            return str(self.code) if name == "ERRORLEVEL" else self._variables.get(name, "")

        return _VARIABLE.sub(value, line)

    def _command(self, line: str, folder: str) -> None:
        if looped := _FOR.fullmatch(line):
            for item in looped[2].split():
                self._command(looped[3].replace(f"%{looped[1]}", item), folder)
        elif asked := _IF.fullmatch(line):
            if self._holds(asked) != bool(asked[1]):
                self._command(asked[8], folder)
        elif self._label is None:
            for part in line.split(" & "):
                self._simple(part.strip())

    def _holds(self, asked: re.Match[str]) -> bool:
        if asked[3]:
            path = asked[3].strip('"').lower()
            return any(name == path or name.startswith(f"{path}\\") for name in self._machine.files)
        if asked[4]:
            return self.code >= int(asked[4])
        left, right = int(asked[5]), int(asked[7])
        return left >= right if asked[6].upper() == "GEQ" else left <= right

    def _simple(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        name = verb.lower()
        if name in ("rem", "setlocal", "endlocal", "mkdir", "") or line.lower() == "echo off":
            return
        if name == "set":
            variable, _, value = rest.partition("=")
            self._variables[variable.upper()] = value
        elif name == "goto":
            self._label = rest
        elif name == "exit":
            self.code = int(rest or self.code)
        elif name == "call" or name.endswith(".cmd"):
            self.script(rest if name == "call" else verb)
        elif name == "echo":
            written = _TO.fullmatch(rest)
            assert written, line
            self._echo(written[1], written[2])
        elif name == "copy":
            self._copy([word for word in _words(_TO.sub(r"\1", rest)) if word != "/y"])
        elif name == "cmd.exe":
            assert rest.lower().startswith("/c "), line
            self._command(rest[3:], "")
        else:
            program, *arguments = _words(line)
            self.code = self._program(program, arguments)

    def _echo(self, text: str, target: str) -> None:
        if target.startswith("\\\\.\\"):
            self._write(target[4:], text)
        else:
            self._machine.write_file(target, text.encode())

    def _copy(self, words: list[str]) -> None:
        source, target = words
        content = self._machine.read_file(source)
        if content is not None:
            self._machine.write_file(target, content)
        self.code = 0 if content is not None else 1

    def _program(self, path: str, arguments: list[str]) -> int:
        name = path.rpartition("\\")[2].lower()
        if name in self._programs:
            return self._programs[name](arguments)
        try:
            return self._machine.run([name, *arguments], {}, 60.0).code
        except ProvisionError:
            return NOT_FOUND


def _words(line: str) -> list[str]:
    return [found[1] or found[2] for found in _WORD.finditer(line)]
