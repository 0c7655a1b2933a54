"""Reads a run's folder: results.json and run.jsonl, also of a run that was killed.

Results are read one at a time, as `ResultsFile` wrote them: a run's results may not fit in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import ConfigurationError
from harness.host.fileend import last_bytes
from harness.host.regular import open_regular
from harness.journal import Event, is_open
from harness.outcome import ScenarioResult
from harness.results import SCHEMA, TAIL_SPACE, crash_fields

LINE_LIMIT = 64 << 20
"""Bytes of one result or event that are read; a scenario's debug output is bounded far below."""
EVENTS_SIZE = 128 << 20
EVENTS_LINES = 500_000
"""Bytes and lines of run.jsonl that are read: a run of 100 000 scenarios writes half as much."""
LATEST_TIME = 1e11
"""UNIX seconds; a later value is not taken for a time."""
KILLED = "The run was killed."
UNDER_WAY = "The run is still under way."


@dataclass(frozen=True)
class RunRecord:
    """What the end of results.json says about the whole run; for a run without an end, what is known."""

    run: str
    guest: str = ""
    started: float = 0.0
    seconds: float = 0.0
    missing_capabilities: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cell: str = ""
    planned: int = 0
    broke_off: str = ""
    source: str = "run"
    partial: bool = False


_RUN = TypeAdapter(RunRecord)
_RESULT = TypeAdapter(ScenarioResult)


class RecordedRun:
    """One run folder.

    Attributes:
        record: everything about the run except its results.
        events_cut: says what `events` left out, when it has ended; empty if it left out nothing.

    Raises:
        ConfigurationError: there is no run in `folder`, or its schema is another one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_cut = ""
        self._file = folder / "results.json"
        if not os.path.lexists(self._file):
            self._file = folder / "results.json.partial"
        try:
            with open_regular(self._file) as file:
                head = _head(file.readline(LINE_LIMIT))
            end = _end(last_bytes(self._file, TAIL_SPACE))
        except OSError as error:
            raise ConfigurationError(
                f"{folder} holds no results of a run: {error.strerror}.",
                remedy="Name the folder of one run, such as artifacts/latest.",
            ) from error
        if head.get("schema") != SCHEMA or not isinstance(head.get("run"), str):
            raise ConfigurationError(
                f"{self._file} is not a results.json of schema {SCHEMA} written by winvm.",
                remedy="Name the folder of a run of this version of winvm.",
            )
        if end is None:
            self.record = self._without_end(head["run"])
        else:
            try:
                self.record = _RUN.validate_python({"run": head["run"], **end})
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                raise ConfigurationError(
                    f"{self._file}: {'.'.join(map(str, first['loc']))}: {first['msg']}.",
                    remedy="Name the folder of a run that winvm wrote.",
                ) from error

    def results(self) -> Iterator[ScenarioResult]:
        """Every result, in the order of the run; ends early where the file is damaged."""
        with open_regular(self._file) as file:
            file.readline(LINE_LIMIT)
            while line := file.readline(LINE_LIMIT):
                if line.startswith(b"]"):
                    return
                try:
                    yield _result(line)
                except (ValueError, TypeError, LookupError, RecursionError):
                    return  # ValidationError is a ValueError

    def events(self) -> Iterator[Event]:
        """Every readable event of run.jsonl, up to `EVENTS_SIZE` and `EVENTS_LINES`."""
        try:
            with open_regular(self.folder / "run.jsonl") as file:
                lines = 0
                while line := file.readline(min(LINE_LIMIT, EVENTS_SIZE - file.tell())):
                    if (lines := lines + 1) > EVENTS_LINES:
                        break
                    try:
                        event = json.loads(line)
                    except (ValueError, RecursionError):
                        continue
                    if isinstance(event, dict) and _is_time(event.get("time")):
                        yield event
                read, size = file.tell() - len(line), os.fstat(file.fileno()).st_size
                if read < size and (line or read >= EVENTS_SIZE):  # else it grows meanwhile
                    self.events_cut = f"run.jsonl has {size} bytes; its first {read} were read."
        except OSError:
            return

    def _without_end(self, run: str) -> RunRecord:
        times = [event["time"] for event in self.events()]
        started = min(times, default=0.0)
        return RunRecord(
            run,
            started=started,
            seconds=max(times, default=0.0) - started,
            broke_off=UNDER_WAY if is_open(self.folder / "run.jsonl") else KILLED,
        )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < LATEST_TIME


def _head(line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line.rstrip() + b"]}")
    except (ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}


def _end(data: bytes) -> dict[str, Any] | None:
    """The object after the results; None if the file has no end."""
    _, found, end = data.rpartition(b"\n], ")
    try:
        document = json.loads(b"{" + end) if found else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _result(line: bytes) -> ScenarioResult:
    document = json.loads(line.rstrip().rstrip(b","))
    if crash := document["crash"]:
        document["crash"] = crash_fields(crash)
    return _RESULT.validate_python(document)
