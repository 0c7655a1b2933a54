"""The agent's JSON lines as the host reads them: one model per event; any other line is refused.

The agent runs in the guest, so its lines are untrusted. guest/agent/protocol.py is the other end.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import AgentError

VERSION = 1
LINE_LIMIT = 1 << 20
"""Largest line in bytes. The agent limits messages and tracebacks to far less."""

_Name = Annotated[str, Field(max_length=1000)]
_Text = Annotated[str, Field(max_length=64_000)]
_Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_Code = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_Counters = Annotated[str, Field(max_length=LINE_LIMIT)]
"""What `agent.instrument.Taken` says: base64 of compressed numbers, `harness.coverage.counters` reads it."""
_Count = Annotated[int, Field(ge=0, le=1 << 53)]


class _Event(BaseModel):
    # Unknown fields are accepted, so that a newer agent may send more than this host knows.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Standby(_Event):
    """The guest's standby interpreter is up, or the agent that it became is up and waits for hello."""

    event: Literal["standby"]


class Ready(_Event):
    """The answer to `hello`."""

    event: Literal["ready"]
    protocol: int
    python: _Name
    pid: _Count
    scenarios: Annotated[list[_Name], Field(max_length=100_000)]


class Loaded(_Event):
    """The answer to `load`; `error_code` is a Win32 error, 0 when the failure has none."""

    event: Literal["loaded"]
    ok: bool
    error_code: _Code = 0
    message: _Text = ""
    contract_mismatch: bool = False
    seconds: _Seconds = 0.0
    counters: _Counters = ""
    trouble: _Text = ""


class Unloaded(_Event):
    """The answer to `unload`."""

    event: Literal["unloaded"]
    ok: bool
    error_code: _Code = 0
    message: _Text = ""
    seconds: _Seconds = 0.0
    counters: _Counters = ""
    trouble: _Text = ""


class SubresultEntry(BaseModel):
    """One test of a program that a scenario ran."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: _Text
    outcome: Literal["passed", "failed", "skipped"]
    message: _Text = ""


class Finished(_Event):
    """A scenario came to its end.

    `expect_dbgprint` are regular expressions that its slice must match. `driver_exit` is the exit code of a
    driver's service that has ended by itself, 0 while it runs. `stopping`: seconds since the scenario asked
    the service to stop, if that has not ended; else 0.
    """

    event: Literal["finished"]
    id: _Count
    scenario: _Name
    outcome: Literal["passed", "failed", "error", "skipped"]
    message: _Text = ""
    detail: _Text = ""
    seconds: _Seconds = 0.0
    operations: _Count = 0
    expect_dbgprint: Annotated[list[_Name], Field(max_length=1000)] = []
    notes: Annotated[list[_Text], Field(max_length=10_000)] = []
    driver_exit: _Code = 0
    stopping: _Seconds = 0.0
    subresults: Annotated[list[SubresultEntry], Field(max_length=5000)] = []
    counters: _Counters = ""
    trouble: _Text = ""


class Looked(_Event):
    """The answer to `look`, sent while a scenario may be running.

    `driver_runs`: whether the driver's service exists and has not stopped; None if that was not asked or is
    not known. `operation`: whose call has not returned for `seconds`; empty while the scenario runs code of
    its own, at `where` and with that `stack`. `notes`: of the scenario so far. `stopping`: seconds since the
    driver's service was asked to stop, if that has not ended; else 0. `idle`: seconds since the last
    operation returned; None if something may be under way. `holds`: the scenario has open handles, or a
    second process, which on Windows keep a driver from being unloaded.
    """

    event: Literal["looked"]
    id: _Count
    driver_runs: bool | None = None
    stopping: _Seconds = 0.0
    idle: _Seconds | None = None
    holds: bool = False
    operation: _Name = ""
    seconds: _Seconds = 0.0
    where: _Name = ""
    stack: _Text = ""
    notes: Annotated[list[_Text], Field(max_length=10_000)] = []


class Prompt(_Event):
    """A scenario's debugger printed `text` and waits for a `line` command."""

    event: Literal["prompt"]
    text: _Text = ""


class Fatal(_Event):
    """The agent ends because of an internal error."""

    event: Literal["fatal"]
    message: _Text


AgentEvent = Standby | Ready | Loaded | Unloaded | Finished | Looked | Prompt | Fatal

_EVENTS: TypeAdapter[AgentEvent] = TypeAdapter(Annotated[AgentEvent, Field(discriminator="event")])


def parse_event(line: bytes) -> AgentEvent:
    """Parses one line of the agent. Raises `AgentError` that quotes the line when it is not an event."""
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = ascii(f"{where}: {first['msg']}" if where else first["msg"])[1:200].rstrip("'\"")
        raise AgentError(
            f"The agent printed {quoted(line)}, which is not one of its events ({reason}).",
            remedy="Something else wrote to the agent's output, or agent and host differ in version.",
        ) from error


def command_line(cmd: str, **fields: Any) -> bytes:
    """Encodes one command for the agent, in ASCII, so that no code page can change it."""
    return json.dumps({"cmd": cmd, **fields}, ensure_ascii=True).encode("ascii") + b"\n"


def quoted(data: bytes, limit: int = 160) -> str:
    """Untrusted bytes made safe for a message: escaped and shortened."""
    cut = "" if len(data) <= limit else f" ... ({len(data)} bytes)"
    return ascii(data[:limit].decode("utf-8", "backslashreplace")) + cut
