"""artifacts/<run>/: the one place a run leaves what it found. Owns the names in it and `latest`.

run.jsonl      every step and result as it happens      results.json   the whole run, written at its end
dbgprint.log   the guest's debug output                 junit.xml      by pytest
crashes/NN-scenario/   one folder per crash
"""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import HostError
from harness.journal import Journal
from harness.outcome import RunResult, ScenarioResult
from harness.report.results import run_document, scenario_document, write_json


class Artifacts:
    """One run's artifacts.

    Args:
        parent: the artifacts folder; made if missing.

    Raises:
        HostError: the folder cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        self.run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.path = parent / self.run_id
        try:
            self.path.mkdir(parents=True)
            self.journal = Journal(self.path / "run.jsonl")
            self._link(parent / "latest")
        except OSError as error:
            raise HostError(
                f"The artifacts folder {self.path} cannot be made: {error.strerror}.",
                remedy="Free disk space, or name another folder under [artifacts] in winvm.toml.",
            ) from error
        self.results: list[ScenarioResult] = []

    @property
    def dbgprint_log(self) -> Path:
        """The guest's whole debug output with host timestamps."""
        return self.path / "dbgprint.log"

    @property
    def junit(self) -> Path:
        """JUnit XML, written by pytest."""
        return self.path / "junit.xml"

    def crash_folder(self, scenario: str) -> Path:
        """A new folder for one crash of `scenario`."""
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", scenario)[:80]
        parent = self.path / "crashes"
        parent.mkdir(exist_ok=True)
        folder = parent / f"{sum(1 for _ in parent.iterdir()) + 1:02d}-{safe}"
        folder.mkdir()
        return folder

    def add(self, result: ScenarioResult) -> None:
        """Records one result, in memory and in run.jsonl, so that a killed run still shows it."""
        self.results.append(result)
        document = scenario_document(result)
        del document["dbgprint"]
        self.journal.record("result", **document)

    def finish(self, run: RunResult) -> Path:
        """Writes results.json and closes the journal.

        Raises:
            HostError: the disk is full; run.jsonl still holds every result.
        """
        path = self.path / "results.json"
        try:
            write_json(path, run_document(run))
        except OSError as error:
            raise HostError(
                f"{path} cannot be written: {error.strerror}.",
                remedy=f"Free disk space; every result so far is in {self.path / 'run.jsonl'}.",
            ) from error
        finally:
            self.journal.close()
        return path

    def _link(self, latest: Path) -> None:
        """Points `latest` at this run; two runs starting together each win for a moment, neither fails."""
        temporary = latest.with_name(f".latest-{self.run_id}")
        temporary.symlink_to(self.path.name)
        with suppress(IsADirectoryError):
            temporary.replace(latest)
        temporary.unlink(missing_ok=True)
