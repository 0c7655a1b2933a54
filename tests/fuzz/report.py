"""Mutated run folders: `python -m tests.fuzz.report --count 100000`.

results.json and run.jsonl of a run folder, which may come from anywhere: `winvm report FOLDER` writes a page
and annotations, or raises a ConfigurationError that says why it cannot.
"""

from __future__ import annotations

import random

from harness.errors import ConfigurationError
from harness.outcome import Outcome
from harness.report.digest import digest
from harness.report.findings import findings
from harness.report.page import render
from harness.report.recorded import RecordedRun
from tests.fakes.recorded_runs import HOSTILE, crash, result, write_run
from tests.fuzz.campaign import Campaign, mutated, scratch_folder

RUN = "20261121-000000-abcdef"
CUT = b"\0\0run.jsonl\0\0"


class Folder:
    """One run folder; its files are written anew for each input."""

    def __init__(self) -> None:
        root = scratch_folder()
        evidence = root / RUN / "crashes" / "01-a.two"
        results = [
            result("a.one"),
            result("a.two", Outcome.CRASHED, crash=crash(evidence, "a.two", "deadbeef")),
            result("a.three", Outcome.FAILED, message=HOSTILE, detail=HOSTILE),
        ]
        events = [{"time": 0.1, "event": "start", "name": "boot", "kind": "boot", "id": 1}]
        self.folder = write_run(root, RUN, results, events=events)
        self._results = (self.folder / "results.json").read_bytes()
        self._events = (self.folder / "run.jsonl").read_bytes()

    def make(self, chance: random.Random) -> bytes:
        """results.json and run.jsonl, at least one of them mutated."""
        results = mutated(chance, self._results, 1 << 17) if chance.random() < 0.9 else self._results
        return results + CUT + mutated(chance, self._events, 1 << 17)

    def check(self, data: bytes) -> None:
        """Reads the folder, and makes the page and the annotations of it."""
        results, _, events = data.partition(CUT)
        (self.folder / "results.json").write_bytes(results)
        (self.folder / "run.jsonl").write_bytes(events)
        try:
            run = RecordedRun(self.folder)
            found = digest(run)
            findings(found, self.folder)
            # A page takes 80 ms, everything before it 3 ms: the pages of a tenth of the inputs.
            page = render(run, found, None) if sum(data) % 10 == 0 else ""
        except ConfigurationError:
            return
        assert "<script>document.title" not in page
        assert "\x1b" not in page


FOLDER = Folder()
CAMPAIGN = Campaign(FOLDER.make, FOLDER.check, seconds=4.0, megabytes=128)

if __name__ == "__main__":
    CAMPAIGN.command_line(__doc__, 100_000)
