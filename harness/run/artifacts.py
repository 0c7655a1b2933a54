"""artifacts/<run>/: the folder with everything a run found. Owns the names in it and `latest`.

run.jsonl      every step and result as it happens      results.json   every result, `.partial` until the end
dbgprint.log   the guest's debug output                 junit.xml      by pytest
debug.log      requests to programs, libvirt and the guest, at most 8 MiB with debug.log.1
crashes/NN-scenario/   one folder per crash             crashes/crash-*.tar.zst   the bundle that replays it
lost/NN-scenario/      QEMU's log, console and journal of a guest that was lost without a crash
"""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness.display import debuglog
from harness.errors import HostError
from harness.journal import Journal
from harness.outcome import Outcome, RunResult, ScenarioResult
from harness.results import ResultsFile, scenario_document

RUN_NAME = r"\d{8}-\d{6}-[0-9a-f]{6}"
"""Regular expression of a run's id, the name of its folder."""


class Artifacts:
    """One run's artifacts.

    Args:
        parent: the artifacts folder; made if missing.

    Attributes:
        counts: results so far by outcome.
        crashes: results so far that have a crash.
        signatures: signature of each crash -> scenario -> how often it crashed that way.

    Raises:
        HostError: the folder cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        self.run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.path = parent / self.run_id
        try:
            self.path.mkdir(parents=True)
            self.journal = Journal(self.path / "run.jsonl")
            self._end_debug_log = debuglog.to_file_of(self, self.path / "debug.log")
            self._results = ResultsFile(self.results, self.run_id)
            self._link(parent / "latest")
        except OSError as error:
            raise HostError(
                f"The artifacts folder {self.path} cannot be made: {error.strerror}.",
                remedy="Free disk space, or name another folder under [artifacts] in winvm.toml.",
            ) from error
        self.counts: Counter[Outcome] = Counter()
        self.crashes = 0
        self.signatures: dict[str, Counter[str]] = {}

    @property
    def results(self) -> Path:
        """Every result as data, once the run has ended."""
        return self.path / "results.json"

    @property
    def dbgprint_log(self) -> Path:
        """The guest's whole debug output with host timestamps."""
        return self.path / "dbgprint.log"

    @property
    def junit(self) -> Path:
        """JUnit XML, written by pytest."""
        return self.path / "junit.xml"

    def crash_folder(self, scenario: str) -> Path:
        """A new folder for one crash of `scenario`.

        Raises:
            HostError: the folder cannot be made.
        """
        return self._numbered("crashes", scenario)

    def lost_folder(self, scenario: str) -> Path:
        """A new folder for the logs of a guest that was lost during `scenario`; raises as `crash_folder`."""
        return self._numbered("lost", scenario)

    def _numbered(self, kind: str, scenario: str) -> Path:
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", scenario)[:80]
        parent = self.path / kind
        try:
            parent.mkdir(exist_ok=True)
            folder = parent / f"{sum(1 for path in parent.iterdir() if path.is_dir()) + 1:02d}-{safe}"
            folder.mkdir()
        except OSError as error:
            raise HostError(
                f"No folder for {scenario} can be made in {parent}: {error.strerror}.",
                remedy="Free disk space.",
            ) from error
        return folder

    def bundle_file(self, signature: str) -> Path:
        """A new bundle's file beside the crash folders; the second one of a signature ends in `-2`."""
        name, number = f"crash-{signature}", 1
        while True:
            file = self.path / "crashes" / f"{name}{f'-{number}' if number > 1 else ''}.tar.zst"
            if not file.exists():
                return file
            number += 1

    def add(self, result: ScenarioResult) -> None:
        """Records one result in results.json and run.jsonl, so that a killed run still shows it.

        Raises:
            HostError: the disk is full; every result before this one is kept.
        """
        document = scenario_document(result)
        del document["dbgprint"]
        self.journal.record("result", **document)
        try:
            self._results.add(result)
        except OSError as error:
            raise HostError(
                f"The result of {result.name} cannot be written to {self.path}: {error.strerror}.",
                remedy="Free disk space; every result before it is kept there.",
            ) from error
        self.counts[result.outcome] += 1
        if result.crash:
            self.crashes += 1
            self.signatures.setdefault(result.crash.signature, Counter())[result.crash.scenario] += 1

    def finish(
        self,
        guest: str,
        started: float,
        missing_capabilities: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        *,
        cell: str = "",
        planned: int = 0,
        broke_off: str = "",
        source: str = "run",
        partial: bool = False,
    ) -> RunResult:
        """Completes results.json and closes the journal; the arguments are those of `RunResult`.

        Raises:
            HostError: the disk is full; every result is in results.json.partial.
        """
        run = RunResult(
            run_id=self.run_id,
            guest=guest,
            started=started,
            seconds=time.time() - started,
            counts=dict(self.counts),
            crashes=self.crashes,
            signatures=self.signatures,
            results=self.results,
            missing_capabilities=missing_capabilities,
            environment=dict(environment or {}),
            cell=cell,
            planned=planned,
            broke_off=broke_off,
            source=source,
            partial=partial,
        )
        try:
            self._results.finish(run)
        except OSError as error:
            raise HostError(
                f"{self.results} cannot be completed: {error.strerror}.",
                remedy=f"Free disk space; every result is in {self.results}.partial.",
            ) from error
        finally:
            self.journal.close()
            self._end_debug_log()
        return run

    def _link(self, latest: Path) -> None:
        """Points `latest` at this run. When two runs start together, the later one wins and neither fails."""
        temporary = latest.with_name(f".latest-{self.run_id}")
        temporary.symlink_to(self.path.name)
        with suppress(IsADirectoryError):
            temporary.replace(latest)
        temporary.unlink(missing_ok=True)
