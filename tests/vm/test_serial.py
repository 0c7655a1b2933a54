"""The Wine guest without its network: every scenario, a damaged line, and a guest used by hand."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.guests.protocol import Reachable
from harness.guests.wine.guest import WineGuest, WineSerialLink
from harness.guests.wine.spec import AGENT_SOCKET
from harness.machine.runfolder import RunFolder
from harness.outcome import Outcome
from harness.project import config
from harness.run.artifacts import Artifacts
from harness.run.live import LiveGuest
from harness.run.pipeline import prepare, start_guest
from harness.run.plan import make_plan
from tests.fakes.damaged_line import DamagedLine
from tests.vm.conftest import ROOT, CommandLine

PROFILES = ("wine-serial", "wine-console")
PYTHON = r"C:\Python\python.exe"
SUITE_S = 1800
DAMAGED = 0.002
"""Share of 64-byte pieces that lose, gain or alter bytes: one frame of a file in eight."""


@pytest.mark.parametrize(
    ("profile", "chosen", "least"),
    [("wine-console", (), 200), ("wine-serial", ("-k", "ioctl_buffered and not thread"), 10)],
    ids=["console", "16550"],  # QEMU hands a 16550 too little at a time for the whole suite
)
def test_scenarios_run_over_it(
    winvm: CommandLine, tmp_path: Path, profile: str, chosen: tuple[str, ...], least: int
) -> None:
    done = winvm.run("run", "--guest", profile, *chosen, "--artifacts", str(tmp_path), timeout=SUITE_S)
    assert done.returncode == 0, done.stdout.decode()[-4000:] + done.stderr.decode()[-4000:]
    results = json.loads(next(tmp_path.rglob("results.json")).read_text())
    outcomes = [result["outcome"] for result in results["scenarios"]]
    assert set(outcomes) <= {"passed", "skipped"}
    assert outcomes.count("passed") > least


@dataclasses.dataclass(frozen=True)
class Damaged(WineGuest):
    """A guest whose line loses, gains and alters bytes."""

    folder: Path = Path()
    lines: list[DamagedLine] = dataclasses.field(default_factory=list)

    def link(self, host: Reachable) -> WineSerialLink:
        """As that of `WineGuest`, with damage on the way."""
        guest = host.channels.console.with_name(AGENT_SOCKET)
        line = DamagedLine(self.folder / str(len(self.lines)), guest, DAMAGED, seed=len(self.lines))
        self.lines.append(line)
        return WineSerialLink(host, line.path)


@pytest.mark.parametrize(
    ("profile", "scenarios", "size"), [("wine-serial", 10, 20_001), ("wine-console", 40, 100_001)]
)
def test_a_damaged_line_changes_no_result(tmp_path: Path, profile: str, scenarios: int, size: int) -> None:
    plan = make_plan(config.load(ROOT / config.FILE_NAME), profile)
    artifacts = Artifacts(tmp_path / "artifacts")
    with ExitStack() as stack:
        prepared = prepare(plan, artifacts.journal)
        image = prepared.installed.guest
        assert isinstance(image, WineGuest)
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))  # a socket's path has 107 bytes
        guest = Damaged(image.image, serial=True, folder=short)
        folder = stack.enter_context(RunFolder.create(config.home() / "runs"))
        # The undamaged guest makes the ready state; what a session does with it goes over the damaged line.
        bench = start_guest(prepared, folder, artifacts, stack)
        prepared = dataclasses.replace(
            prepared, installed=dataclasses.replace(prepared.installed, guest=guest)
        )
        machine, standby = bench.guest.machine, bench.guest._standby
        bench = prepared.bench(machine, Artifacts(tmp_path / "damaged"), standby, stack)
        stack.callback(bench.close)
        bench.connect("release")
        chosen = itertools.islice(
            (one for one in plan.scenarios if not one.needs and not one.build), 0, 3 * scenarios, 3
        )
        results = [bench.run(scenario) for scenario in chosen]
        assert [(one.name, one.message) for one in results if one.outcome is not Outcome.PASSED] == []
        source, back = tmp_path / "source", tmp_path / "back"
        source.write_bytes(random.Random(3).randbytes(size))
        place, deadline = r"C:\winvm\run\damaged.bin", Deadline.after(300)
        bench.guest.link.files.push(source, place, deadline)
        bench.guest.link.files.pull(place, back, deadline, limit=1 << 20)
        assert back.read_bytes() == source.read_bytes()
        assert sum(line.touched for line in guest.lines) > 3
        for line in guest.lines:
            line.close()


@pytest.fixture(scope="module", params=PROFILES)
def up(winvm: CommandLine, request: pytest.FixtureRequest) -> Iterator[LiveGuest]:
    arguments = ("up", "--guest", request.param, "--json")
    yield LiveGuest.model_validate(json.loads(winvm.ok(*arguments, timeout=600)))
    winvm.ok("down")


def test_nothing_listens_on_its_network(winvm: CommandLine, up: LiveGuest) -> None:
    assert (up.machine / AGENT_SOCKET).is_socket()
    script = (
        "import socket\n"
        "try: socket.create_connection(('127.0.0.1', 5986), 2)\n"
        "except OSError: print('nobody')\n"
        "else: print('WinRM')"
    )
    assert winvm.ok("exec", "--", PYTHON, "-c", script).split() == [b"nobody"]


def test_files_programs_and_exit_codes(winvm: CommandLine, up: LiveGuest, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(random.Random(7).randbytes(200_003))
    winvm.ok("push", str(source), r"C:\deep\folder\random.bin")
    winvm.ok("pull", r"C:\deep\folder\random.bin", str(back))
    assert back.read_bytes() == source.read_bytes()
    echo = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(33)"
    done = winvm.run("exec", "--", PYTHON, "-c", echo, stdin=b"through the line\n")
    assert (done.returncode, done.stdout.strip()) == (33, b"THROUGH THE LINE")


def test_what_is_refused_says_why(winvm: CommandLine, up: LiveGuest, tmp_path: Path) -> None:
    done = winvm.run("pull", r"C:\no\such\file", str(tmp_path / "local"))
    assert done.returncode == 3
    assert b"The guest refused" in done.stderr
    done = winvm.run("exec", "--", r"C:\no\such\program.exe")
    assert done.returncode == 3
    assert b"The guest refused" in done.stderr
