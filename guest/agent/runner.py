"""Serves one run: hello, load, run, unload, quit. One process for all scenarios of a run."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from agent.body import captured, debugged, run_body
from agent.collect import collect, shown_file
from agent.context import Context
from agent.contract_check import contract_mismatch
from agent.deadline import Deadline
from agent.debugger import Debugger
from agent.doing import Doing, doing
from agent.errors import RegistryError, WaitTimeoutError, Win32Error
from agent.guarded import guarded, silent
from agent.guest import Guest
from agent.inbox import Command, Inbox
from agent.instrument import COVERAGE, RECORDS, Instrumented, Taken, read_channel
from agent.journal import Journal, discard
from agent.marker import Marker
from agent.operations import Operations
from agent.protocol import VERSION, ProtocolError, Wire
from agent.registry import Body, Registered
from agent.replay import Recorded, replay
from agent.service import Making
from agent.subresults import fitting
from agent.underway import idle, process_runs, since_stop
from agent.verdict import AGENT_FOLDER, ScenarioVerdict

SERVICE_DEADLINE_S = 60.0
DYING_S = 0.2
"""Seconds after a failed scenario in which the end of its driver is still looked for."""
POLL_S = 0.05
LOOK_S = 5.0
STOPPING_S = 10.0
"""Seconds after a scenario's end in which a driver that it asked to stop may do so."""
CASE_TIMES = 3
"""A case is issued so often in a replay: a race does not come up each time."""
MARGIN_S = 2.0  # a scenario's waits end so much (at most a tenth) before the host reports it as hung


class FatalError(Exception):
    """The run cannot continue; the host gets the text as a `fatal` event."""


class Runner:
    """The state of one run, made from the host's `hello`; `serve` passes it the later commands."""

    def __init__(self, wire: Wire, guest: Guest, scenarios: Sequence[Registered], hello: Command) -> None:
        if hello["cmd"] != "hello":
            raise FatalError(f"the first command must be hello, not {hello['cmd']!r}")
        self._wire = wire
        self._guest = guest
        self._capabilities = frozenset(hello.get("capabilities", ()))
        self._scenarios = {found.name: found for found in scenarios}
        self._service = ""
        self._driver_path = ""
        self._made = Making()
        self._instrumented = Instrumented(None, "", read_channel)
        self._guarded = guarded({})
        self._driver_exit = 0
        self._stopping = 0.0
        self._watched = ""
        self._running = False
        self._context: Context | None = None
        self.debugger: Debugger | None = None
        self._thread = threading.get_ident()
        self._journal = Journal(self._open_journal(hello.get("journal")))
        self._marker = _marker(hello, guest.dbgprint)
        wire.send(
            "ready",
            protocol=VERSION,
            python=platform.python_version(),
            pid=os.getpid(),
            scenarios=list(self._scenarios),
        )

    def handle(self, command: Command) -> None:
        """Carries out one command.

        Raises:
            FatalError: the command is unknown or lacks a field.
        """
        handlers: dict[str, Callable[[Command], None]] = {
            "load": self._load,
            "unload": self._unload,
            "run": self._run,
        }
        name = command["cmd"]
        if name not in handlers:
            raise FatalError(f"unknown command {name!r}")
        self._running = True
        try:
            handlers[name](command)
        finally:
            self._running = False

    def look(self, command: Command) -> None:
        """Answers, from another thread, what the scenario is doing and whether the driver's service runs."""
        runs, stopping = None, 0.0
        if command.get("driver") and self._watched:
            try:
                # Not journalled: the last operation of the journal stays the scenario's.
                scope = Operations(lambda *_: None, Deadline.after(LOOK_S))
                runs = self._guest.is_alive(self._watched, scope)
                asked = since_stop(self._watched)
                if runs and asked is not None and self._guest.is_stopping(self._watched, scope):
                    stopping = asked
            except (Win32Error, WaitTimeoutError):
                runs = None
        context = self._context
        seen = doing(self._thread) if self._running else Doing(idle=idle())
        holds = process_runs() or bool(context and context.open_handles)
        notes = list(context.notes) if context else []
        number = command.get("id", 0)
        service = {"driver_runs": runs, "stopping": stopping, "holds": holds}
        self._wire.send("looked", id=number, notes=notes, **service, **asdict(seen))

    def _load(self, command: Command) -> None:
        service, path = _field(command, "service"), command.get("sys") or ""
        contract, main = command.get("contract"), command.get("main", True)
        made = Making(
            command.get("type", "kernel"), command.get("start", "demand"), command.get("parameters", {})
        )
        if main:
            self._service, self._watched = "", service
            watched = dict.fromkeys(command.get("instruments", ()), service)
            self._instrumented = Instrumented(watched.get(COVERAGE), RECORDS, read_channel)
            self._guarded = guarded(watched)
        started = time.perf_counter()
        scope = self._scope()
        try:
            self._start(service, path, scope, made)
            mismatch = contract_mismatch(contract, self._guest, scope) if contract else ""
        except (Win32Error, AssertionError, ImportError, OSError) as error:  # also a wait that ran out
            code = error.code if isinstance(error, Win32Error) else 0
            left = asdict(self._take(runs=False)) if main else {}  # of an entry point that failed
            message = str(error)
            self._wire.send(
                "loaded", ok=False, error_code=code, message=message, contract_mismatch=False, **left
            )
            return
        if mismatch:
            self._wire.send("loaded", ok=False, error_code=0, message=mismatch, contract_mismatch=True)
            return
        if main:
            self._service, self._driver_path, self._made = service, path, made
        taken = self._take() if main else Taken()
        self._wire.send("loaded", ok=True, seconds=_since(started), **asdict(taken))

    def _unload(self, command: Command) -> None:
        service = _field(command, "service")
        started = time.perf_counter()
        main = service == self._watched
        if service == self._service:
            self._service = ""
        try:
            self._guest.unload(service, self._scope())
        except (Win32Error, WaitTimeoutError) as error:
            code = error.code if isinstance(error, Win32Error) else 0
            taken = self._take() if main else Taken()
            self._wire.send("unloaded", ok=False, error_code=code, message=str(error), **asdict(taken))
            return
        taken = self._take(runs=False) if main else Taken()
        self._wire.send("unloaded", ok=True, seconds=_since(started), **asdict(taken))

    def _run(self, command: Command) -> None:
        number, name = int(_field(command, "id")), str(_field(command, "scenario"))
        deadline_s = float(_field(command, "deadline_s"))
        found = self._scenarios.get(name.partition("@")[0])  # `name@build`: `name` against that build
        operations, linger_s = command.get("operations"), float(command.get("linger_s", 0))
        seed = int(command.get("seed", 0))
        started, before = time.perf_counter(), self._journal.count
        self._journal.enter(name, number)
        context = Context(
            name,
            self._journal.record,
            Deadline.after(deadline_s - min(MARGIN_S, deadline_s / 10)),
            capabilities=self._capabilities,
            params=command.get("params"),
            service=self._service,
            driver_path=self._driver_path,
            seed=seed,
        )
        if "random" in sys.modules:  # a scenario has imported it
            sys.modules["random"].seed(seed)
        self._marker.begin(number, name)
        self._driver_exit, self._stopping = 0, 0.0
        self._context = context
        self._guarded.begin(command.get("fail"))
        debugger = self.debugger if command.get("debugger") else None
        post_mortem = bool(command.get("post_mortem"))
        if "fuzz" in command:
            found = None
            ended = self._attempt((), lambda t: _fuzz(command["fuzz"], t), context)
        elif "case" in command:
            found = None
            ended = self._attempt((), lambda t: _replay_case(command["case"], t), context)
        elif operations is not None:
            found = None  # a replay does not expect the debug output of a scenario
            ended = self._attempt((), lambda t: _replay(operations, linger_s, t), context)
        elif found:
            run = found.run if debugger is None else debugged(found.run, debugger, post_mortem=post_mortem)
            ended = self._attempt(found.needs, run, context)
        else:
            ended = ScenarioVerdict("error", f"there is no scenario {name!r}")
        tests, left_out = fitting(context.subresults)
        if left_out:
            context.note(f"{left_out} further tests were reported")
        if not (gone := bool(self._driver_exit or self._stopping or not self._service)):
            self._guarded.end()
        self._marker.end(number, name)
        taken = self._take(runs=not gone)
        self._context = None
        self._journal.enter("")
        self._wire.send(
            "finished",
            id=number,
            scenario=name,
            outcome=ended.outcome,
            message=ended.message,
            detail=ended.detail,
            seconds=_since(started),
            operations=self._journal.count - before,
            expect_dbgprint=[*(found.expect_dbgprint if found else ()), *context.expected_dbgprint],
            notes=context.notes,
            subresults=[asdict(test) for test in tests],
            driver_exit=self._driver_exit,
            stopping=self._stopping,
            **asdict(taken),
        )

    def _attempt(self, needs: Sequence[str], run: Body, context: Context) -> ScenarioVerdict:
        missing = [need for need in needs if not context.has(need)]
        if missing:
            return ScenarioVerdict("skipped", f"the guest lacks {', '.join(missing)}")
        with captured(context):
            ended = run_body(run, context)
            self._driver_exit = self._look_at_driver(context, patient=ended.outcome != "passed")
            for problem in self._tidy(context):
                context.note(problem)
        return ended

    def _look_at_driver(self, context: Context, *, patient: bool) -> int:
        """Exit code of the driver's service if it ended by itself; 0 while it runs, or if it was stopped.

        This detects a crash even if the debug output does not show it. `patient`: an operation has failed,
        perhaps because the driver is ending; the service control manager needs a moment to notice that.
        """
        deadline = Deadline.after(DYING_S if patient else 0.0)
        try:
            while self._service:
                code = self._guest.exit_code(self._service, self._scope(), restarted=context.used_services)
                if code or deadline.expired:
                    return code
                time.sleep(POLL_S)
        except (Win32Error, WaitTimeoutError):
            pass  # a guest in which this fails also fails the next operation
        return 0

    def _await_stop(self, context: Context) -> float:
        """Seconds since the scenario asked its driver to stop, if that does not end; 0.0 otherwise."""
        deadline = Deadline.after(STOPPING_S)
        try:
            while context.used_services and self._service:
                asked = since_stop(self._service)
                if asked is None or not self._guest.is_stopping(self._service, self._scope()):
                    break
                if deadline.expired:
                    return asked
                time.sleep(POLL_S)
        except (Win32Error, WaitTimeoutError):
            pass  # as in _look_at_driver
        return 0.0

    def _start(self, service: str, path: str, scope: Operations, made: Making) -> None:
        """Loads the driver. Without a path its INF has installed the service, which is only started."""
        if path:
            self._guest.load(service, path, scope, made)
        else:
            self._guest.start(service, scope)

    def _tidy(self, context: Context) -> list[str]:
        """Closes what the scenario left open, and loads the driver again if the scenario stopped it."""
        problems = context.close_leftovers()  # Windows unloads a driver when the last handle is closed
        self._stopping = self._await_stop(context)
        if not (context.used_services and self._service) or self._driver_exit or self._stopping:
            return problems  # of a driver that died or hangs the host restores the guest
        try:
            if not self._guest.is_running(self._service, self._scope()):
                self._start(self._service, self._driver_path, self._scope(), self._made)
                problems.append("the driver was loaded again after the scenario")
        except (Win32Error, WaitTimeoutError) as error:
            problems.append(f"the driver could not be loaded again: {error}")
        return problems

    def _take(self, *, runs: bool = True) -> Taken:
        """What the driver counted since the last time; not journalled: no operation of a scenario."""
        return self._instrumented.take(silent(), runs=runs)

    def _scope(self) -> Operations:
        return Operations(self._journal.record, Deadline.after(SERVICE_DEADLINE_S))

    def _open_journal(self, path: str | None) -> Callable[[bytes], None]:
        if path is None:
            return discard
        try:
            return self._guest.open_serial(path)
        except Win32Error as error:
            raise FatalError(f"the journal cannot be opened: {error}") from error


def _replay(operations: Sequence[Recorded], linger_s: float, t: Context) -> None:
    t.note(f"{replay(operations, linger_s, t)} operations issued")


def _fuzz(plan: Any, t: Context) -> None:
    from agent.fuzz.loop import fuzz  # `random` and the loop are of no use to any other run

    fuzz({**plan, "service": t.service}, t)


def _replay_case(document: Any, t: Context) -> None:
    from agent.fuzz.loop import replay_case

    t.note(f"{replay_case(document, CASE_TIMES, t)} operations issued")


def serve(wire: Wire, guest: Guest, collected: Callable[[], Sequence[Registered]] = collect) -> int:
    """Serves the host until `quit` or the end of its stream; returns the exit code, 2 after a fatal error."""
    try:
        scenarios = collected()
        wire.send("standby")  # everything is imported: a guest saved now can continue with any host
        hello = wire.receive()
        if hello is None:
            return 0
        runner = Runner(wire, guest, scenarios, hello)
        inbox = Inbox(wire, runner.look)
        runner.debugger = Debugger(wire, inbox, AGENT_FOLDER)
        while (command := inbox.receive()) is not None and command["cmd"] != "quit":
            runner.handle(command)
    except RegistryError as error:
        wire.send("fatal", message=f"{shown_file(error.file)}:{error.line}: {error}")
        return 2
    except (FatalError, ProtocolError) as error:
        wire.send("fatal", message=str(error))
        return 2
    except BaseException as error:  # report any error to the host; the traceback goes to stderr
        wire.send("fatal", message=f"{type(error).__name__}: {error}")
        raise
    return 0


def _marker(hello: Command, dbgprint: Callable[[str], None]) -> Marker:
    try:
        return Marker(str(_field(hello, "marker")), dbgprint)
    except ValueError as error:
        raise FatalError(f"hello needs a marker nonce: {error}") from error


def _field(command: Command, name: str) -> Any:
    if name not in command:
        raise FatalError(f"command {command['cmd']} lacks the field {name!r}")
    return command[name]


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
