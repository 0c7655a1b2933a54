"""What the host's messages do in the guest: programs started, fed and read; files written and read.

Nothing here trusts the line: a message that cannot be used is answered or ignored, and never ends the
service. Programs outlive the host's session, like those of a WinRM shell; files under way end with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from winrmd.commandline import of_words
from winrmd.process import Output, Process

from seriald import files
from seriald.line import Line, Port
from seriald.serial_messages import (
    CANCEL,
    CHUNK,
    CREDIT,
    EXIT,
    INPUT,
    INPUT_BYTES,
    NUMBER,
    OUTPUT,
    READ,
    REPLY,
    START,
    STAT,
    STREAMS,
    TERMINATE,
    WRITE,
    MessageError,
    chunk,
    described,
    fields,
    message,
    parse,
)

ERROR_CHARACTERS = 300
INPUT_WAIT_S = 60.0
CREDIT_LIMIT = 1 << 20
PROCESS_LIMIT = 256
"""Programs that are kept: ended ones are forgotten first."""
OUTPUT_WAIT_S = 60.0
UTF8_CODEPAGE = 65001
"""Of the programs' consoles, as the WinRM shell asks for it."""


class _Program:
    """One program, with what the host may still be sent of its output."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.credit = 0
        self.session = 0  # the host's session that gave the credit
        self.inputs: list[tuple[bytes, bool]] = []
        self.feeding = False  # whether `_feed` has some of them in its hands
        self.exit_code: int | None = None  # once the host has been told


class Service:
    """Serves one port; `serve` returns only by the port's `OSError`."""

    def __init__(self, port: Port) -> None:
        self._line = Line(port, self._received, self._renewed)
        self._changed = threading.Condition()
        self._programs: dict[int, _Program] = {}
        self._numbers = 0
        self._incoming: dict[int, files.Incoming] = {}
        self._reading: set[int] = set()

    def serve(self) -> None:
        """Raises the port's `OSError`."""
        self._line.serve()

    def _renewed(self) -> None:
        """A new session: nobody waits any more for what the old one asked."""
        with self._changed:
            self._reading.clear()
        for incoming in self._incoming.values():
            incoming.discard()
        self._incoming.clear()

    def _received(self, data: bytes) -> None:
        try:
            kind, number, body = parse(data)
            if kind == CHUNK:
                self._chunk(number, body)
            elif kind == CANCEL:
                self._cancel(number)
            elif kind in (INPUT, CREDIT, TERMINATE):
                self._for_program(kind, number, body)
            elif kind in (START, STAT, READ, WRITE):
                self._called(kind, number, fields(body))
        except MessageError:
            return

    def _called(self, kind: int, call: int, asked: dict[str, Any]) -> None:
        session = self._line.session
        if kind == WRITE:  # here, because its chunks follow
            self._answered(call, session, lambda: self._write(call, asked))
            return
        if kind == READ:
            with self._changed:
                self._reading.add(call)
        work: dict[int, Callable[[], dict[str, Any] | None]] = {
            START: lambda: self._start(asked),
            STAT: lambda: {"size": files.size_of(str(asked.get("path", "")))},
            READ: lambda: self._read(call, session, asked),
        }
        threading.Thread(target=self._answered, args=(call, session, work[kind]), daemon=True).start()

    def _answered(self, call: int, session: int, work: Callable[[], dict[str, Any] | None]) -> None:
        try:
            answer = work()
        except (OSError, ValueError, TypeError, LookupError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]}
        if answer is not None:
            self._line.reply(described(REPLY, call, **answer), session)

    def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        argv = asked.get("argv")
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError("argv is no list of words")
        program = _Program(Process(of_words(argv), dict(os.environ), None, UTF8_CODEPAGE))
        with self._changed:
            self._forget()
            self._numbers += 1
            number = self._numbers
            self._programs[number] = program
        threading.Thread(target=self._feed, args=(program,), daemon=True).start()
        threading.Thread(target=self._drain, args=(number, program), daemon=True).start()
        return {"process": number}

    def _forget(self) -> None:
        for number in [number for number, program in self._programs.items() if program.exit_code is not None]:
            if len(self._programs) < PROCESS_LIMIT:
                return
            self._programs.pop(number).process.close()
        if len(self._programs) >= PROCESS_LIMIT:
            raise ValueError(f"{PROCESS_LIMIT} programs run already")

    def _for_program(self, kind: int, number: int, body: bytes) -> None:
        with self._changed:
            program = self._programs.get(number)
            if program is None:
                return
            if kind == CREDIT and len(body) == NUMBER.size:
                if program.session != self._line.session:
                    program.credit, program.session = 0, self._line.session
                program.credit = min(program.credit + NUMBER.unpack(body)[0], CREDIT_LIMIT)
                if program.exit_code is not None:  # told to a host that is gone
                    self._line.reply(_exit(number, program.exit_code), program.session)
                self._changed.notify_all()
            elif kind == INPUT and body:
                self._pass_on(program, body[1:], body[0] == 1)
        if kind == TERMINATE:
            program.process.terminate()

    def _pass_on(self, program: _Program, data: bytes, end: bool) -> None:
        """Input, at once if there is room for it; under the lock."""
        if program.inputs or program.feeding or not program.process.send(data, end, 0.0):
            program.inputs.append((data, end))
            self._changed.notify_all()

    def _feed(self, program: _Program) -> None:
        """Thread: passes on what found no room, so that a program that reads none delays nobody else."""
        while program.exit_code is None:
            with self._changed:
                self._changed.wait_for(lambda: program.inputs or program.exit_code is not None)
                waiting, program.inputs = program.inputs, []
                program.feeding = bool(waiting)
            for data, end in waiting:
                while not program.process.send(data, end, INPUT_WAIT_S) and program.exit_code is None:
                    continue
            with self._changed:
                program.feeding = False

    def _drain(self, number: int, program: _Program) -> None:
        """Thread: sends output as far as the host has given credit for it, then the exit code."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: program.credit > 0)
                room, session = min(program.credit, INPUT_BYTES), program.session
            output = self._collect(program, room, session)
            if output is None:
                with self._changed:
                    if program.session == session and self._line.session != session:
                        program.credit = 0
                continue
            for mark, stream in STREAMS.items():
                if data := output.data.get(stream):
                    with self._changed:
                        program.credit = max(0, program.credit - len(data))
                    self._line.send(message(OUTPUT, number, bytes((mark,)) + data), session)
            if output.exit_code is not None:
                break
        with self._changed:
            program.exit_code = output.exit_code & 0xFFFFFFFF
            self._changed.notify_all()
        self._line.send(_exit(number, program.exit_code), session)

    def _collect(self, program: _Program, room: int, session: int) -> Output | None:
        """Output of a program, unless the host is gone: it must not swallow what the next one waits for."""
        streams = tuple(STREAMS.values())
        return program.process.collect(streams, room, OUTPUT_WAIT_S, lambda: self._line.session != session)

    def _write(self, call: int, asked: dict[str, Any]) -> dict[str, Any] | None:
        incoming = files.Incoming(str(asked["path"]), int(asked["size"]), str(asked["sha256"]))
        self._incoming[call] = incoming
        return self._finish(call, incoming)

    def _finish(self, call: int, incoming: files.Incoming) -> dict[str, Any] | None:
        if not incoming.complete:
            return None
        del self._incoming[call]
        try:
            incoming.finish()
        finally:
            incoming.discard()
        return {}

    def _chunk(self, call: int, body: bytes) -> None:
        incoming = self._incoming.get(call)
        if incoming is None:
            return  # its WRITE was refused or cancelled
        session = self._line.session

        def work() -> dict[str, Any] | None:
            try:
                incoming.add(*chunk(body))
            except (OSError, ValueError):
                self._cancel(call)
                raise
            return self._finish(call, incoming)

        self._answered(call, session, work)

    def _cancel(self, call: int) -> None:
        if incoming := self._incoming.pop(call, None):
            incoming.discard()
        with self._changed:
            self._reading.discard(call)

    def _read(self, call: int, session: int, asked: dict[str, Any]) -> dict[str, Any]:
        def post(data: bytes) -> bool:
            return call in self._reading and self._line.send(data, session)

        try:
            size, sha256 = files.send(str(asked["path"]), int(asked["limit"]), call, post)
        finally:
            with self._changed:
                self._reading.discard(call)
        return {"size": size, "sha256": sha256}


def _exit(number: int, code: int) -> bytes:
    return message(EXIT, number, NUMBER.pack(code))
