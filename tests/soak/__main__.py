"""`python -m tests.soak`: runs that are long, large, or killed, each with what it must not cost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.soak.project import ROOT, Project, project

QUICK = (
    "hello_names_the_contract",
    "write_is_logged",
    "event_opens_by_name",
    "show_then_get",
    "register_1_round_trip",
    "ioctl_buffered.set_then_get",
    "read_completes_later",
)
RSS_LIMIT_KIB = 20 * 1024
SETTLED = 0.1
"""Part of a run's results after which memory and files count as settled."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One row of the table."""

    what: str
    wanted: str
    found: str
    good: bool
    seconds: float


def watched(here: Project, run: subprocess.Popen[bytes]) -> list[tuple[int, int]]:
    """(RSS in KiB, open files) of a run twice a second, from its tenth part of results to the last of them.

    Before that modules are imported and a guest comes up, after it reports are written.
    """
    samples: list[tuple[int, int, int]] = []
    results = here.artifacts / "latest" / "results.json.partial"
    while run.poll() is None:
        try:
            status = Path(f"/proc/{run.pid}/status").read_text().splitlines()
            files = len(list(Path(f"/proc/{run.pid}/fd").iterdir()))
            size = results.stat().st_size if results.exists() else 0
        except OSError:
            continue  # it has just ended, or been renamed
        samples += [(int(line.split()[1]), files, size) for line in status if line.startswith("VmRSS:")]
        time.sleep(0.5)
    last = max((size for *_, size in samples), default=0)
    return [(rss, files) for rss, files, size in samples if size >= last * SETTLED]


def quiet(here: Project, *arguments: str) -> subprocess.Popen[bytes]:
    """A run whose output nobody reads."""
    return here.start(*arguments, output=subprocess.DEVNULL)


def executions(here: Project, count: int) -> tuple[str, str, bool]:
    """Many scenario executions in one run: memory and open files stay."""
    with quiet(here, "-k", " or ".join(QUICK), "--repeat", str(count)) as run:
        samples = watched(here, run)
    document = here.latest()
    done = len(document["scenarios"])
    rss, files = (max(values) - values[0] for values in zip(*samples, strict=True))
    good = run.returncode == 0 and rss <= RSS_LIMIT_KIB and files <= 2
    found = f"{done} executions {document['counts']}, +{rss / 1024:.1f} MiB, {files:+d} files"
    return "all pass; memory within 20 MiB, files within 2", found, good


def load_cycles(here: Project, count: int) -> tuple[str, str, bool]:
    """The driver is stopped and started in one guest."""
    with quiet(here, "-k", "lifecycle.stop_and_start", "--repeat", str(count)) as run:
        run.communicate()
    counts = here.latest()["counts"]
    return f"{count} load/unload cycles pass", f"{counts}", counts == {"passed": count}


def many_lines(here: Project, count: int) -> tuple[str, str, bool]:
    """One scenario prints; every line is in dbgprint.log, in order."""
    with quiet(here, "-k", "endurance.prints", "--param", f"lines={count}") as run:
        samples = watched(here, run)
    found = 0
    with (here.artifacts / "latest" / "dbgprint.log").open(errors="replace") as log:
        for line in log:
            if line.endswith(" of many\n"):
                if f" line {found:07d} of many" not in line:
                    break
                found += 1
    rss = max(kib for kib, _ in samples) / 1024
    return f"{count} lines in order", f"{found} in order; at most {rss:.0f} MiB of memory", found == count


def killed_runs(here: Project, count: int) -> tuple[str, str, bool]:
    """Runs end by SIGINT, SIGTERM or SIGKILL at random; then one run passes, and nothing of any is left."""
    chance = random.Random(20261121)
    dirty = []
    for number in range(count):
        with quiet(here, "-k", "knows_the_time or busy") as run:
            time.sleep(chance.uniform(0.2, 15))
            run.send_signal(chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL)))
            try:
                run.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                dirty.append(f"run {number} does not end")
                run.kill()
    with quiet(here, "-k", "knows_the_time") as run:
        run.communicate()
    dirty += here.left()
    return (
        "nothing left after the next run",
        f"{count} killed; left: {dirty}",
        not dirty and run.returncode == 0,
    )


def crash_cycles(here: Project, count: int) -> tuple[str, str, bool]:
    """Crashes and restores in one run: files and memory stay, no process is left behind."""
    with quiet(here, "-k", "fault.bugcheck_with_parameters", "--repeat", str(count)) as run:
        samples = watched(here, run)
    counts = here.latest()["counts"]
    rss = max(kib for kib, _ in samples) - samples[0][0]
    # Connections come and go with each restore: what leaks stays open at the quietest moment too.
    half = len(samples) // 2
    files = min(files for _, files in samples[half:]) - min(files for _, files in samples[:half])
    left = here.left()
    good = counts == {"passed": count} and rss <= RSS_LIMIT_KIB and files <= 2 and not left
    found = f"{counts}, {rss / 1024:+.1f} MiB, {files:+d} files, left: {left}"
    return "all pass; nothing leaks", found, good


PARTS: dict[str, tuple[Callable[[Project, int], tuple[str, str, bool]], int, int]] = {
    # the part, its count at full scale, the least that shows anything
    "executions": (executions, 1112, 10),  # times the 9 scenarios that QUICK names
    "load cycles": (load_cycles, 500, 5),
    "debug lines": (many_lines, 1_000_000, 10_000),
    "crash cycles": (crash_cycles, 20, 5),
    "killed runs": (killed_runs, 50, 4),
}


def soak(scale: float, chosen: list[str]) -> Iterator[Verdict]:
    """Every part in turn."""
    for name in chosen:
        part, full, least = PARTS[name]
        began = time.monotonic()
        with project() as here:
            try:
                wanted, found, good = part(here, max(least, round(full * scale)))
            except (OSError, ValueError) as error:  # no results at all
                wanted, found, good = "results", f"{type(error).__name__}: {error}", False
            if not good:
                kept = ROOT / "artifacts" / f"soak-{name.replace(' ', '-')}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(here.artifacts, kept, symlinks=True)
        yield Verdict(name, wanted, found, good, round(time.monotonic() - began, 1))


def main() -> int:
    """Prints the table; 0 when every verdict is good."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full counts, e.g. 0.1")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part only")
    parser.add_argument("--json", type=Path, default=ROOT / "artifacts" / "soak.json", help="where data goes")
    options = parser.parse_args()
    verdicts: list[dict[str, Any]] = []
    for verdict in soak(options.scale, options.only or list(PARTS)):
        verdicts.append(dataclasses.asdict(verdict))
        mark = "ok    " if verdict.good else "FAILED"
        print(
            f"{mark} {verdict.what:13} {verdict.seconds:7.1f} s  {verdict.wanted}: {verdict.found}",
            flush=True,
        )
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"scale": options.scale, "verdicts": verdicts}, indent=1) + "\n")
    return 0 if all(verdict["good"] for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
