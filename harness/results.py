"""results.json: a run as data. Fields are those of `harness.outcome`; codes and addresses are hex strings."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.host.fallocate import reserve
from harness.outcome import CrashRecord, KernelCrash, RunResult, ScenarioResult

SCHEMA = 1
DRIVER_CODE = "driver code"
"""`driver code BUILD` in a run's environment: a digest of the driver that a new signature keeps."""
TAIL_SPACE = 64 << 10
"""Bytes kept free for the end of results.json: environment and counts."""
NO_FOLDER = "none"
"""Name of a folder that never exists."""


class ResultsFile:
    """Writes results.json during the run: each result goes to disk at once and is not kept in memory.

    Until `finish` the file is called `results.json.partial` and lacks its end. One line holds one result, so
    the file of a killed run can be read line by line. Space for the end is reserved with each result: when
    the disk becomes full, only the result that did not fit is lost, and the document can be completed.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._size = 0
        self._separator = "\n"
        head = json.dumps({"schema": SCHEMA, "run": run_id})[:-1]
        self._append(f'{head}, "scenarios": [', TAIL_SPACE)

    def add(self, result: ScenarioResult) -> None:
        """Appends one result.

        Raises:
            OSError: the result does not fit on the disk; the file is unchanged.
        """
        self._append(self._separator + json.dumps(scenario_document(result), default=str), TAIL_SPACE)
        self._separator = ",\n"

    def finish(self, run: RunResult) -> None:
        """Writes the end and renames the file to results.json.

        Raises:
            OSError: the disk is full, and nothing could be reserved on this file system.
        """
        self._append(f"\n], {json.dumps(run_document(run), default=str)[1:]}\n", 0)
        os.ftruncate(self._descriptor, self._size)  # removes the unused reserved space
        self._partial.replace(self.path)
        os.close(self._descriptor)

    def _append(self, text: str, behind: int) -> None:
        data = text.encode()
        try:
            reserve(self._descriptor, self._size, len(data) + behind)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                os.lseek(self._descriptor, self._size, os.SEEK_SET)
                reserve(self._descriptor, self._size, TAIL_SPACE)
            raise
        self._size += len(data)


def crash_document(crash: CrashRecord) -> dict[str, Any]:
    """A crash as JSON-ready data: crash.json, and `crash` of a result; flat, with the report's fields.

    `hint` is there where the guest's log said something, `stack` where the driver's guard told one.
    """
    hint = {name: said for name, said in vars(crash.report.hint).items() if said}
    return {
        "kind": crash.kind,
        "code": f"0x{crash.code:08x}",
        "parameters": [f"0x{value:x}" for value in crash.parameters],
        "scenario": crash.scenario,
        "time": crash.time,
        "text": crash.text,
        "last_operation": crash.last_operation,
        "folder": str(crash.folder),
        "artifacts": list(crash.artifacts),
        "notes": list(crash.notes),
        "signature": crash.signature,
        "bundle": crash.bundle,
        "cause": crash.cause,
        **({"hint": hint} if hint else {}),
        **({"stack": [f"0x{address:x}" for address in crash.report.stack]} if crash.report.stack else {}),
    }


def crash_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `CrashRecord` in a document from `crash_document`; not yet validated.

    Raises:
        KeyError, TypeError, ValueError: the document has another form.
    """
    own = {field.name for field in dataclasses.fields(CrashRecord)}
    written = [field.name for field in dataclasses.fields(KernelCrash) if field.name not in ("hint", "stack")]
    report = {name: document[name] for name in written}
    report["code"] = int(report["code"], 16)
    report["parameters"] = [int(value, 16) for value in report["parameters"]]
    report["hint"] = document.get("hint", {})
    report["stack"] = [int(address, 16) for address in document.get("stack", ())]
    # A crash without a folder is from an earlier version, which kept no evidence.
    kept = {"folder": document["folder"] or NO_FOLDER}
    return {**{name: value for name, value in document.items() if name in own}, **kept, "report": report}


def scenario_document(result: ScenarioResult) -> dict[str, Any]:
    """One scenario's result as JSON-ready data."""
    document = dataclasses.asdict(result)
    document["crash"] = crash_document(result.crash) if result.crash else None
    return document


def run_document(run: RunResult) -> dict[str, Any]:
    """A run as JSON-ready data, without its results."""
    return {
        "guest": run.guest,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "counts": dict(run.counts),
        "signatures": {signature: dict(scenarios) for signature, scenarios in run.signatures.items()},
        "missing_capabilities": list(run.missing_capabilities),
        "environment": run.environment,
        "cell": run.cell or run.guest,
        "planned": run.planned,
        "broke_off": run.broke_off,
        "source": run.source,
        "partial": run.partial,
    }


def json_text(document: object) -> str:
    """The text of a document in a file."""
    return json.dumps(document, indent=1, default=str) + "\n"


def write_json(path: Path, document: object) -> None:
    """Writes JSON atomically: a reader sees the old file or the complete new one.

    Raises:
        OSError: the disk is full or the folder is gone.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json_text(document), encoding="utf-8")
    partial.replace(path)
