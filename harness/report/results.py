"""results.json: a run as data. Fields are those of `harness.outcome`; codes and addresses are hex strings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from harness.outcome import Crash, RunResult, ScenarioResult

SCHEMA = 1


def crash_document(crash: Crash) -> dict[str, Any]:
    """A crash as JSON-ready data."""
    document = dataclasses.asdict(crash)
    document["code"] = f"0x{crash.code:08x}"
    document["parameters"] = [f"0x{value:x}" for value in crash.parameters]
    document["folder"] = str(crash.folder) if crash.folder else None
    return document


def scenario_document(result: ScenarioResult) -> dict[str, Any]:
    """One scenario's result as JSON-ready data."""
    document = dataclasses.asdict(result)
    document["crash"] = crash_document(result.crash) if result.crash else None
    return document


def run_document(run: RunResult) -> dict[str, Any]:
    """A whole run as JSON-ready data."""
    counts: dict[str, int] = {}
    for result in run.scenarios:
        counts[result.outcome] = counts.get(result.outcome, 0) + 1
    return {
        "schema": SCHEMA,
        "run": run.run_id,
        "guest": run.guest,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "counts": counts,
        "missing_capabilities": list(run.missing_capabilities),
        "environment": run.environment,
        "scenarios": [scenario_document(result) for result in run.scenarios],
    }


def write_json(path: Path, document: object) -> None:
    """Writes JSON so that a reader sees the old file or the whole new one.

    Raises:
        OSError: the disk is full or the folder is gone.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(path)
