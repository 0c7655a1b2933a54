"""Copies the logs of an installation that failed out of its powered-off disk: Setup's, Windows' and winvm's.

Windows keeps them in places that Microsoft documents (Microsoft Learn: Windows Setup log files).
Text logs are copied without the image's secrets. Answer files and provision.json, which hold secrets, stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.images.evidence import without
from harness.offline.disk import OfflineDisk
from harness.offline.ntfs import NtfsVolume

LOGS = (
    "Windows/Panther/setupact.log",
    "Windows/Panther/setuperr.log",
    "Windows/Panther/UnattendGC/setupact.log",
    "Windows/Panther/UnattendGC/setuperr.log",
    "$WINDOWS.~BT/Sources/Panther/setupact.log",
    "$WINDOWS.~BT/Sources/Panther/setuperr.log",
    "$WINDOWS.~BT/Sources/Rollback/setupact.log",
    "$WINDOWS.~BT/Sources/Rollback/setuperr.log",
    "Windows/Logs/CBS/CBS.log",
    "Windows/Logs/DISM/dism.log",
    "Windows/INF/setupapi.dev.log",
    "Windows/INF/setupapi.offline.log",
    "Windows/debug/NetSetup.LOG",
    "Windows/System32/winevt/Logs/System.evtx",
    "Windows/System32/winevt/Logs/Application.evtx",
    "Windows/System32/winevt/Logs/Setup.evtx",
    "Windows/System32/winevt/Logs/Microsoft-Windows-TaskScheduler%4Operational.evtx",
    "ProgramData/ssh/logs/sshd.log",
    "winvm/provision/journal.jsonl",
)
"""Paths on a volume of Windows."""
LIMIT = 64 << 20
"""Bytes of one log; a longer one is left out, and the list says so."""
LIST = "logs.txt"


def collect(disk: Path, target: Path, secrets: Sequence[str], deadline: Deadline) -> list[Path]:
    """Copies the logs into the folder `target`, and writes there which were found.

    Never raises for a disk that cannot be read: the list then says why.

    Args:
        disk: of a machine that is off.
        secrets: texts that no copy may hold.
    """
    target.mkdir(parents=True, exist_ok=True)
    copied: list[Path] = []
    said: list[str] = []
    try:
        with OfflineDisk(disk, deadline) as opened:
            for volume in opened.volumes:
                for line, file in _copy(volume, target, secrets, deadline):
                    said.append(line)
                    copied += [file] if file else []
            if not opened.volumes:
                said.append("The disk has no NTFS volume: Windows Setup has not made one yet.")
    except InfrastructureError as error:
        said.append(f"Not read further: {error}")
    (target / LIST).write_text("\n".join(said) + "\n", encoding="utf-8")
    return copied


def _copy(
    volume: NtfsVolume, target: Path, secrets: Sequence[str], deadline: Deadline
) -> Iterator[tuple[str, Path | None]]:
    for path in LOGS:
        entry = volume.entry(path, deadline)
        if entry is None:
            continue
        where = f"partition {volume.partition}, {path}, {entry.size} bytes"
        if entry.size > LIMIT:
            yield f"{where}: left out, more than {LIMIT >> 20} MiB", None
            continue
        # One flat folder: names of the guest's choosing never become host paths.
        file = target / f"{volume.partition}-{path.replace('$', '').replace('/', '-')}"
        try:
            with tempfile.TemporaryDirectory(prefix="winvm-logs-") as folder:
                raw = Path(folder) / "log"
                volume.copy_out(path, raw, deadline, LIMIT)
                file.write_bytes(without(raw.read_bytes(), secrets))
        except InfrastructureError as error:
            yield f"{where}: cannot be copied: {error}", None
            continue
        yield where, file
