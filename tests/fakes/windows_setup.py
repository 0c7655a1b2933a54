"""Plays Windows Setup, the first logon and every later start, from the files of the bench's CD.

It obeys the answer file, and runs its commands and the scripts of the CD with a part of cmd.exe. The
provisioner runs on a fake Windows.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from provision.journal import Journal
from provision.machine import Kind, RegistryData
from provision.runner import Provisioner
from provision.settings import parse
from provision.staging import FOLDER, PYTHON_FOLDER, RESUME, stage
from provision.supplied import supplied

from tests.fakes.windows_setup_answers import Answers, Partition
from tests.fakes.windows_setup_cmd import NOT_FOUND, Cmd
from tests.fakes.windows_tools import FakeWindows


class PlayedSetup:
    """One machine with the CD in drive D.

    Attributes:
        disc: path on the CD -> content.
        machine: Windows, from the first start on.
        lines: what was written to COM2.
        partitions: what the disk has, once Setup has partitioned it.
        starts: how often the machine was started.
    """

    def __init__(self, disc: Mapping[str, bytes], machine: FakeWindows) -> None:
        self.machine = machine
        self.lines: list[bytes] = []
        self.partitions: list[Partition] = []
        self.starts = 0
        for path, content in disc.items():
            machine.files["d:\\" + path.replace("/", "\\").lower()] = content

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal on COM2."""
        return [json.loads(line) for line in self.lines]

    def install(self, *, indexes: tuple[int, ...] = (1,), evaluation: bool = True) -> None:
        """From the start of the CD to the end of the first logon.

        Args:
            indexes: images that install.wim has.
            evaluation: whether they take no product key.

        Raises:
            ErrorPage: Setup would wait for a person.
        """
        self.starts += 1
        answers = Answers(self.machine.files["d:\\autounattend.xml"])
        for line in answers.commands("windowsPE"):
            self._cmd().run(line)
        answers.require(list(indexes), evaluation)
        self.partitions = answers.partitions()
        self.starts += 1
        for line in answers.commands("specialize"):
            self._cmd().run(line)
        name, _ = answers.account()
        self.machine.expiry = {name: "01/02/2027 07:00:00"}
        for line in answers.logon_commands():
            self._cmd().run(line)

    def start(self) -> None:
        """Starts the installed Windows: what is planned for a start runs, until Windows goes off again."""
        self.starts += 1
        self.machine.restart()
        for task in list(self.machine.tasks.values()):
            if self.machine.power == "on":
                self._cmd().run(task)

    def _cmd(self) -> Cmd:
        programs = {"tar.exe": self._unpack, "python.exe": self._provision, "reg.exe": self._registry}
        return Cmd(self.machine, self._write, programs)

    def _write(self, port: str, text: str) -> None:
        assert port == "COM2"
        self.lines.append(text.encode() + b"\r\n")

    def _unpack(self, arguments: list[str]) -> int:
        verb, source, into, target = arguments
        assert (verb, into) == ("-xf", "-C")
        with zipfile.ZipFile(io.BytesIO(self.machine.files[source.lower()])) as archive:
            for name in archive.namelist():
                self.machine.files[f"{target}\\{name}".lower().replace("/", "\\")] = archive.read(name)
        return 0

    def _registry(self, arguments: list[str]) -> int:
        verb, key, *options = arguments
        given = dict(zip(options[::2], options[1::2], strict=False))
        if verb != "add" or given["/t"] != "REG_DWORD" or options[-1] != "/f":
            return 1
        self.machine.store(
            key.removeprefix("HKLM\\"), given["/v"], RegistryData(Kind.DWORD, int(given["/d"]))
        )
        return 0

    def _provision(self, arguments: list[str]) -> int:
        program, *options, file = arguments
        if rf"{PYTHON_FOLDER}\python.exe".lower() not in self.machine.files:
            return NOT_FOUND
        settings = parse(self.machine.files[file.lower()])
        journal = Journal([self.lines.append], settings.secrets)
        stage(settings, file.rpartition("\\")[0], program, PYTHON_FOLDER, self.machine)
        files = supplied(settings, FOLDER, self.machine)
        resumed = "--resume" in options
        return Provisioner(settings, files, self.machine, journal, RESUME, resumed).run().value
