"""Run folders as a run leaves them, with fixed times, for tests of reports and history."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.outcome import CrashRecord, DebugRecord, KernelCrash, Outcome, RunResult, ScenarioResult
from harness.results import ResultsFile

STARTED = 1_795_238_661.0
HOSTILE = "<script>document.title='owned'</script>\x1b[31m\x07 \x9b \u202e ::error::owned %0A ##[error]owned"
"""Markup, terminal escapes, a bidirectional override and workflow commands, as a driver may print them."""
DRIVER = {"driver release": "503f6fe2", "driver fault": "32010af3"}


def result(name: str, outcome: Outcome = Outcome.PASSED, **fields: Any) -> ScenarioResult:
    """A result like those of the sample scenarios."""
    fields = {
        "guest_seconds": 0.02,
        "seconds": 0.05,
        "operations": 3,
        "build": "release",
        "line": 12,
        **fields,
    }
    kind = name.partition(".")[0]
    fields.setdefault("file", f"guest/scenarios/{kind}.py")
    return ScenarioResult(name, kind, outcome, **fields)


def printed(*texts: str, started: float = 0.0) -> tuple[DebugRecord, ...]:
    """Lines of debug output, 10 ms apart."""
    return tuple(
        DebugRecord(started + 0.01 * number, "dbgprint", text) for number, text in enumerate(texts, 1)
    )


def write_run(
    parent: Path,
    run_id: str,
    results: Iterable[ScenarioResult],
    *,
    started: float = STARTED,
    events: Sequence[dict[str, Any]] = (),
    ended: bool = True,
    **fields: Any,
) -> Path:
    """A run's folder with results.json, or its partial form, and run.jsonl."""
    folder = parent / run_id
    folder.mkdir(parents=True, exist_ok=True)
    file = ResultsFile(folder / "results.json", run_id)
    every = list(results)
    for one in every:
        file.add(one)
    if ended:
        run = RunResult(
            run_id=run_id,
            guest="wine",
            started=started,
            seconds=20.218,
            counts=Counter(one.outcome for one in every),
            crashes=sum(one.crash is not None for one in every),
            results=folder / "results.json",
            environment={"winvm": "0.1.0", "accelerator": "tcg", **DRIVER},
            cell="wine",
            planned=len({one.name for one in every}),
        )
        file.finish(replace(run, **fields))
    lines = (json.dumps({**event, "time": started + event["time"]}) + "\n" for event in events)
    (folder / "run.jsonl").write_text("".join(lines))
    return folder


def crash(
    folder: Path, scenario: str, signature: str, *, likely_cause: str = "", **fields: Any
) -> CrashRecord:
    """A null write with its evidence in `folder` (crashes/NN-name of a run), which is made."""
    folder.mkdir(parents=True)
    fault = {"address": 0x7FFFFF30283F, "module": "winvm.sys", "offset": 0x283F}
    frame = {"function": "NullWrite", "file": "driver/src/fault.c", "line": 60}
    dispatch = {"function": "WinvmDispatch", "file": "driver/src/driver.c", "line": 145}
    analysis = {
        "signature": signature,
        "what": "exception 0xc0000005 at 0x7fffff30283f on address 0x0",
        "name": "access violation",
        "likely_cause": likely_cause
        or "winvm.sys, NullWrite (driver/src/fault.c:60), wrote to address 0x0, through a null pointer.",
        "fault": {**fault, "frames": [frame]},
        "stack": [
            {"address": 0x7FFFFF3014A6, "module": "winvm.sys", "offset": 0x14A6, "frames": [dispatch]},
            {"address": 0x6FFFFF7F2847, "module": "ntoskrnl.exe", "offset": 0x12847, "frames": []},
        ],
        "dbgprint_tail": ["winvm: WinvmFault: null write", HOSTILE],
    }
    (folder / "analysis.json").write_text(json.dumps(analysis))
    (folder / "screenshot.png").write_bytes(png(72, 40))
    fields.setdefault("bundle", f"crashes/crash-{signature}.tar.zst")
    fields.setdefault("last_operation", "DeviceIoControl WinvmFault code=0x22A408 in=0@NULL out=0@NULL")
    parameters = (0xC0000005, 0x7FFFFF30283F, 0, 1)
    report = KernelCrash("exception", 0xC0000005, parameters, STARTED + 8)
    return CrashRecord(report, scenario, folder, signature, **fields)


def png(width: int, height: int) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x60" * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def eventful_run(parent: Path, run_id: str, **fields: Any) -> Path:
    """A run with every outcome, an expected and an unexpected crash, hostile text, and a guest restored."""
    crashes = parent / run_id / "crashes"
    expected = crash(crashes / "01-fault.null_write", "fault.null_write", "c0000005-winvm.sys-NullWrite")
    unexpected = crash(
        crashes / "02-async.cancel_while_completing",
        "async.cancel_while_completing",
        "c0000005-winvm.sys-CompleteNext",
        likely_cause="winvm.sys, CompleteNext (driver/src/async.c:211), read from address 0xdeadbeefdead, "
        "which no pointer can have: it was overwritten or never set.",
    )
    results = [
        result("registers.set_and_get", dbgprint=printed("winvm: CR42: opened", HOSTILE)),
        result("registers.threads_lose_no_increment", seconds=1.4, guest_seconds=1.3),
        result(
            "registers.short_buffers",
            Outcome.FAILED,
            message="expected 3 bytes, got 4",
            detail='Traceback (most recent call last):\n  File "scenarios/registers.py", line 58\n'
            "AssertionError: expected 3 bytes, got 4",
            dbgprint=printed("winvm: CR42: opened", "winvm: CR42: length 3", started=STARTED),
            started=STARTED,
        ),
        result("mdl.maps_into_the_caller", Outcome.SKIPPED, message="guest lacks user-mdl-mapping"),
        result("fault.null_write", seconds=5.5, crash=expected, build="fault", guest_seconds=0.0),
        result(
            "async.cancel_while_completing",
            Outcome.CRASHED,
            message="exception 0xc0000005 at 0x7fffff30283f; last operation: CancelIoEx",
            detail=HOSTILE,
            seconds=3.1,
            crash=unexpected,
            dbgprint=printed("winvm: LySharkAsync: opened", HOSTILE, "winvm: completing", started=STARTED),
            started=STARTED,
        ),
        result("async.read_completes_later", Outcome.LOST, message="The virtual machine ended by itself."),
        result("sync.five_strings", Outcome.HUNG, message="no result within 30 s", seconds=4.0),
        result("lifecycle.reinstall", Outcome.ERROR, message="OSError: [WinError 1072] marked for deletion"),
    ]
    return write_run(
        parent,
        run_id,
        results,
        events=EVENTS,
        missing_capabilities=("irql", "user-mdl-mapping"),
        **fields,
    )


def _step(name: str, start: float, end: float, **data: Any) -> list[dict[str, Any]]:
    ended = {"event": "end", "step": name, "time": end, "seconds": end - start, "ok": True, **data}
    return [{"event": "start", "step": name, "time": start}, ended]


EVENTS: tuple[dict[str, Any], ...] = (
    *_step("choose accelerator", 0.4, 0.5),
    *_step("build driver (release)", 0.6, 0.9),
    *_step("start guest", 1.1, 2.9),
    *_step("deploy", 2.9, 3.8),
    *_step("start agent", 3.8, 6.0),
    *_step("scenario registers.set_and_get", 6.8, 6.85, outcome="passed"),
    *_step("scenario registers.short_buffers", 6.9, 6.95, outcome="failed"),
    {"event": "start", "step": "scenario fault.null_write", "time": 7.0},
    *_step("load driver (fault)", 7.0, 7.6),
    *_step("keep crash evidence", 7.7, 12.4),
    {"event": "end", "step": "scenario fault.null_write", "time": 12.5, "ok": True, "outcome": "passed"},
    {"event": "result", "name": "fault.null_write", "time": 12.5, "crash": {"time": STARTED + 7.65}},
    {"event": "start", "step": "scenario async.cancel_while_completing", "time": 12.6},
    *_step("restore guest", 12.6, 17.0),
    {
        "event": "end",
        "step": "scenario async.cancel_while_completing",
        "time": 19.0,
        "ok": True,
        "outcome": "crashed",
    },
    {
        "event": "result",
        "name": "async.cancel_while_completing",
        "time": 19.0,
        "crash": {"time": STARTED + 18.5},
    },
    *_step("end guest", 19.2, 19.5),
)
