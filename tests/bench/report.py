"""The table of one measurement: on a terminal, as Markdown, as JSON."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.row import Row

HEAD = ("what", "measured", "target", "", "how")


def machine() -> str:
    """The host in a few words: processor, cores, memory, kernel."""
    names = [line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    cpu = names[0].strip() if names else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores, {int(total) / 2**20:.0f} GiB, Linux {platform.release()}"


def plain(rows: Sequence[Row]) -> str:
    """Columns for a terminal."""
    table = [HEAD, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Row], environment: Mapping[str, str], loads: tuple[float, float]) -> str:
    """The table with machine, date and load averages before and after, as README quotes it."""
    lines = ["| what | measured | target | how |", "|---|---|---|---|"]
    for row in rows:
        what, measured, target, verdict, note = row.cells
        lines.append(f"| {what} | {measured} | {target}{'' if row.met else f', {verdict}'} | {note} |")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    guest = f"accelerator {environment.get('accelerator', 'unknown')}"
    head = (
        f"Measured {day} on {machine()}, {guest}; load average {loads[0]:.1f} before, {loads[1]:.1f} after:"
    )
    return f"{head}\n\n" + "\n".join(lines) + "\n"


def document(
    rows: Sequence[Row], environment: Mapping[str, str], loads: tuple[float, float]
) -> dict[str, Any]:
    """Everything as JSON-ready data."""
    return {
        "time": time.time(),
        "machine": machine(),
        "environment": dict(environment),
        "load average before and after": [round(load, 2) for load in loads],
        "rows": [{**vars(row), "met": row.met} for row in rows],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
