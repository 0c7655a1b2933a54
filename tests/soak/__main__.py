"""`python -m tests.soak`: long, large and killed runs, which must not leak memory, files or processes."""

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.machine.leftovers import remove_leftovers
from tests.soak.kills import GUEST_S, ended_groups, left_after
from tests.soak.project import ROOT, Project, project
from tests.soak.samples import Sample, growth, watched

QUICK = (
    "hello_names_the_contract",
    "write_is_logged",
    "event_opens_by_name",
    "show_then_get",
    "register_1_round_trip",
    "ioctl_buffered.set_then_get",
    "read_completes_later",
)
QUICK_SCENARIOS = 9
"""How many scenarios these names choose."""
VICTIM = ("-k", "knows_the_time or busy", "--param", "seconds=3")
RSS_LIMIT_KIB = 20 * 1024
FILES_LIMIT = 2
CHANCE = random.Random(20261121)
"""A fixed seed: kills come at the same points in every soak on an equally fast host."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One row of the table."""

    what: str
    wanted: str
    found: str
    good: bool
    seconds: float


def quiet(here: Project, *arguments: str) -> subprocess.Popen[bytes]:
    """A run whose output is discarded."""
    return here.start(*arguments, output=subprocess.DEVNULL)


def held(samples: Sequence[Sample]) -> tuple[str, bool]:
    """Growth of a run's memory and open files: as text, and whether it is within the limits."""
    rss = [sample.rss for sample in samples]
    flat, files = max(rss) - min(rss[: len(rss) // 3]), growth([sample.files for sample in samples])
    return f"{flat / 1024:+.1f} MiB, {files:+d} files", flat <= RSS_LIMIT_KIB and files <= FILES_LIMIT


def executions(here: Project, count: int) -> tuple[str, str, bool]:
    """Many scenario executions in one run: memory and open files stay."""
    with quiet(here, "-k", " or ".join(QUICK), "--repeat", str(-(-count // QUICK_SCENARIOS))) as run:
        samples = watched(run, here.growing_results)
    counts = here.latest()["counts"]
    cost, flat = held(samples)
    good = flat and list(counts) == ["passed"] and counts["passed"] >= count and run.returncode == 0
    return f"{count} pass; memory within 20 MiB, files within 2", f"{counts}, {cost}", good


def load_cycles(here: Project, count: int) -> tuple[str, str, bool]:
    """The driver is stopped and started in one guest."""
    with quiet(here, "-k", "lifecycle.stop_and_start", "--repeat", str(count)) as run:
        run.communicate()
    counts = here.latest()["counts"]
    return f"{count} load/unload cycles pass", f"{counts}", counts == {"passed": count}


def many_lines(here: Project, count: int) -> tuple[str, str, bool]:
    """One scenario prints; every line is in dbgprint.log, in order."""
    with quiet(here, "-k", "endurance.prints", "--param", f"lines={count}") as run:
        samples = watched(run, here.growing_results)
    found = 0
    with (here.artifacts / "latest" / "dbgprint.log").open(errors="replace") as log:
        for line in log:
            if line.endswith(" of many\n"):
                if f" line {found:07d} of many" not in line:
                    break
                found += 1
    rss = max((sample.rss for sample in samples), default=0) / 1024
    good = found == count and run.returncode == 0
    return f"{count} lines in order", f"{found} in order; at most {rss:.0f} MiB of memory", good


def crash_cycles(here: Project, count: int) -> tuple[str, str, bool]:
    """Crashes and restores in one run: files and memory stay, no process is left behind."""
    with quiet(here, "-k", "fault.bugcheck_with_parameters", "--repeat", str(count)) as run:
        samples = watched(run, here.growing_results)
    counts = here.latest()["counts"]
    cost, flat = held(samples)
    left = here.left()
    good = flat and counts == {"passed": count} and not left
    return "all pass; nothing leaks", f"{counts}, {cost}, left: {left}", good


def wait_for_clean_up(here: Project, run: subprocess.Popen[bytes], known: set[Path]) -> None:
    """Until the run that has none of the `known` journals ends its guest."""
    while run.poll() is None:
        if any(b'"end guest"' in journal.read_bytes() for journal in set(here.journals()) - known):
            return
        time.sleep(0.005)


def killed_runs(here: Project, count: int) -> tuple[str, str, bool]:
    """Ends runs by a signal at random points; none may leave anything behind.

    One in ten is interrupted while it cleans up. What a run killed by SIGKILL leaves is removed here, as
    the next run removes it before anything else.
    """
    began = time.monotonic()
    with quiet(here, *VICTIM) as run:
        run.communicate()
    length = time.monotonic() - began
    dirty, ports = [], set[int]()
    for number in range(count):
        cleans_up = number % 10 == 0
        signals = (signal.SIGINT,) if cleans_up else (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        signal_ = CHANCE.choice(signals)
        known = set(here.journals())
        with quiet(here, *VICTIM) as run:
            if cleans_up:
                wait_for_clean_up(here, run, known)
            else:
                time.sleep(CHANCE.uniform(0, length))
            ports |= here.ports()
            run.send_signal(signal_)
            try:
                run.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                dirty.append(f"run {number} does not end")
                run.kill()
        if signal_ is signal.SIGKILL:
            here.age_half_made()
            remove_leftovers(here.home / "runs")
        dirty += [f"{signal_.name} on run {number}: {what}" for what in left_after(here, ports, GUEST_S)]
    with quiet(here, "-k", "knows_the_time") as run:
        run.communicate()
    good = not dirty and run.returncode == 0
    return "nothing left of any; the next run passes", f"{count} killed; left: {dirty}", good


def killed_groups(here: Project, count: int) -> tuple[str, str, bool]:
    """Ends runs with their process group, or with all their processes, by SIGKILL."""
    return ended_groups(here, count, (signal.SIGKILL,), VICTIM, CHANCE)


def ended_by_request(here: Project, count: int) -> tuple[str, str, bool]:
    """The same by SIGTERM and SIGHUP."""
    return ended_groups(here, count, (signal.SIGTERM, signal.SIGHUP), VICTIM, CHANCE)


PARTS: dict[str, tuple[Callable[[Project, int], tuple[str, str, bool]], int, int]] = {
    # the part, its count at full scale, the smallest count that is meaningful
    "executions": (executions, 10_000, 200),
    "load cycles": (load_cycles, 500, 5),
    "debug lines": (many_lines, 1_000_000, 10_000),
    "crash cycles": (crash_cycles, 20, 5),
    "killed runs": (killed_runs, 50, 4),
    "killed groups": (killed_groups, 50, 4),
    "ended groups": (ended_by_request, 50, 4),
}


def soak(scale: float, chosen: list[str]) -> Iterator[Verdict]:
    """Every part in turn."""
    for name in chosen:
        part, full, least = PARTS[name]
        began = time.monotonic()
        with project() as here:
            try:
                wanted, found, good = part(here, max(least, round(full * scale)))
            except (OSError, ValueError) as error:  # no results
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
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and every run would inherit that
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
