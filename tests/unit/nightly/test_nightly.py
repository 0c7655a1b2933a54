"""The nightly matrix: its cells, which host has room, and what its exit code says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, HostError
from harness.nightly import night as nights
from harness.nightly.capacity import Capacity, Host, Need
from harness.nightly.cells import matrix
from harness.nightly.hosts import host
from harness.nightly.running import bounded, judge
from harness.nightly.verdict import CellResult, CellVerdict, lines
from harness.project import config
from harness.report.news import News

TOML = """
[driver]
name = "mine"
builds = ["release", "checked"]
[nightly]
profiles = ["wine", "windows-11"]
verifier = [false, true]
"""
SMALL, LARGE = Host("", 2048, 2), Host("qemu+ssh://other/system", 8192, 4)
ONE = Need(1280, 1)


def load(folder: Path, text: str) -> config.Config:
    (folder / "winvm.toml").write_text(text)
    return config.load(folder / "winvm.toml")


def test_every_combination_is_a_cell(tmp_path: Path) -> None:
    cells = matrix(load(tmp_path, TOML))
    assert [cell.name for cell in cells if not cell.missing] == [
        "wine/release",
        "wine/checked",
        "windows-11/release",
        "windows-11/release/driver-verifier",
        "windows-11/checked",
        "windows-11/checked/driver-verifier",
    ]
    assert {cell.missing for cell in cells if cell.profile == "wine" and cell.verifier} == {"driver-verifier"}
    assert next(cell.need for cell in cells) == ONE


def test_what_is_left_out_is_taken_from_the_rest(tmp_path: Path) -> None:
    cells = matrix(load(tmp_path, '[driver]\nbuilds = ["a", "b"]\n'))
    assert [(cell.profile, cell.build, cell.verifier) for cell in cells] == [
        ("wine", "a", False),
        ("wine", "b", False),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [("[nightly]\nbuilds = ['x']\n", "'x'"), ("[nightly]\nprofiles = ['os2']\n", "no guest profile 'os2'")],
)
def test_a_cell_that_cannot_be_is_refused(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=named):
        matrix(load(tmp_path, text))


def test_guests_share_hosts_by_memory_and_cores(tmp_path: Path) -> None:
    capacity = Capacity(tmp_path, [SMALL, LARGE])
    assert capacity.at_once([ONE] * 10) == 1 + 4
    with capacity.take(ONE, Deadline.after(1)) as first:
        assert first == SMALL
        with capacity.take(Need(4096, 3), Deadline.after(1)) as second:
            assert second == LARGE
            with capacity.take(ONE, Deadline.after(1)) as third:
                assert third == LARGE, "the small one has too little memory for a second"
                with pytest.raises(DeadlineError), capacity.take(ONE, Deadline.after(0.1)):
                    pass
    with capacity.take(Need(2048, 2), Deadline.after(1)) as again:
        assert again == SMALL
    assert capacity.wait_until_free(Deadline.after(1))


def test_a_killed_process_gives_its_share_back(tmp_path: Path) -> None:
    holder = f"""
import sys, time
from pathlib import Path
from harness.deadline import Deadline
from harness.nightly.capacity import Capacity, Host, Need
with Capacity(Path({str(tmp_path)!r}), [Host("", 2048, 2)]).take(Need(2000, 1), Deadline.after(5)):
    print("held", flush=True)
    time.sleep(60)
"""
    capacity = Capacity(tmp_path, [SMALL])
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert not capacity.wait_until_free(Deadline.after(0.1))
        os.kill(process.pid, signal.SIGKILL)
        with capacity.take(Need(2000, 1), Deadline.after(10)) as found:
            assert found == SMALL


def test_a_cell_too_large_for_every_host_is_refused_before_anything_runs(tmp_path: Path) -> None:
    loaded = load(tmp_path, TOML)
    with pytest.raises(
        ConfigurationError, match=r"windows-11/release needs \d+ MiB and 2 cores, but this host"
    ):
        nights.begin(loaded, tmp_path / "winvm.toml", matrix(loaded), [SMALL], [])


def test_a_night_is_written_down_for_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(tmp_path, TOML + "parameters = { rounds = 5, fast = true }\n")
    night = nights.begin(loaded, tmp_path / "winvm.toml", matrix(loaded), [LARGE], ["-k", "one"])
    monkeypatch.setenv(nights.VARIABLE, str(night.folder))
    assert nights.Night.of_environment() == night
    assert night.parameters == ("rounds=5", "fast=true")
    assert night.folder.is_relative_to(tmp_path / "artifacts" / "nightly" / "nights")


def test_the_host_itself_is_measured_and_bounded() -> None:
    own = host(config.HostSection())
    assert own.uri == ""
    assert own.memory_mib > 256
    assert own.cores >= 1
    assert host(config.HostSection(memory_mib=512, cores=1)) == Host("", 512, 1)


def test_a_host_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(HostError, match=r"libvirt cannot open test:///nowhere\.xml"):
        host(config.HostSection(uri="test:///nowhere.xml"))


def test_a_libvirt_host_is_asked() -> None:
    asked = host(config.HostSection(uri="test:///default", cores=3))
    assert asked.memory_mib > 0
    assert asked.cores == 3


def result(exit_code: int, **fields: object) -> CellResult:
    verdict = CellVerdict.QUIET if exit_code == 0 else CellVerdict.NEWS
    return CellResult.model_validate({"cell": "c", "verdict": verdict, "exit_code": exit_code, **fields})


@pytest.mark.parametrize(
    ("codes", "expected"), [([0, 0], 0), ([0, 1], 1), ([1, 2], 2), ([2, 3], 3), ([3, 4, 1], 4), ([], 0)]
)
def test_the_worst_cell_is_the_exit_code(codes: list[int], expected: int) -> None:
    assert nights.exit_code([result(code) for code in codes]) == expected


@pytest.mark.parametrize(
    ("news", "usual", "strict"),
    [
        (News(), 0, 0),
        (News(fixed=("a",), fixed_crashes=("s",)), 0, 0),
        (News(known_crashes=("s",), still_failing=("a",)), 0, 4),
        (News(still_failing=("a",)), 0, 1),
        (News(flaky=("a",)), 0, 1),
        (News(failing=("a",), known_crashes=("s",)), 1, 4),
        (News(crashes=("s",), failing=("a",)), 4, 4),
    ],
)
def test_a_strict_night_is_not_quiet_on_what_is_known(news: News, usual: int, strict: int) -> None:
    assert judge(news, strict=False)[1] == usual
    assert judge(news, strict=True)[1] == strict
    assert (judge(news, strict=True)[0] is CellVerdict.KNOWN) == (strict != 0 and not news.bad)


def test_changes_are_kept_and_reported(tmp_path: Path) -> None:
    news = News(failing=("a.one", "a.two"), fixed_crashes=("d1-mine-x",))
    result(1, news=news, seconds=1.5).save(tmp_path)
    loaded = CellResult.load(tmp_path, "c")
    assert loaded.news == news
    assert lines(loaded) == ["failing: a.one, a.two", "fixed crashes: d1-mine-x"]
    assert json.loads((tmp_path / "c.json").read_text())["news"]["failing"] == ["a.one", "a.two"]


def test_a_cell_whose_process_died_is_broken(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[driver]\nbuilds = ["a"]\n')
    night = nights.begin(loaded, tmp_path / "winvm.toml", matrix(loaded), [LARGE], [])
    (lost,) = [nights._result(night, cell) for cell in night.cells]
    assert (lost.verdict, lost.exit_code) == (CellVerdict.BROKEN, 3)
    document = nights.finish(night, [lost], 1.0)
    assert document["exit_code"] == 3
    assert json.loads((night.folder / "results.json").read_text()) == document
    assert time.time() - night.folder.stat().st_mtime < 60


ENDLESS = """
import pathlib, signal, sys, time
def leave(*_):
    pathlib.Path(sys.argv[1]).touch()
    sys.exit(130)
signal.signal(signal.SIGINT, leave)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_run_that_does_not_end_is_ended_and_cleans_up(tmp_path: Path) -> None:
    log, cleaned = tmp_path / "cell.log", tmp_path / "cleaned"
    assert bounded([sys.executable, "-c", ENDLESS, str(cleaned)], log, 3) == 3
    assert cleaned.exists()
    assert log.read_text().endswith("ended this run because it had not ended after 3 s.\n")
    assert bounded([sys.executable, "-c", "raise SystemExit(4)"], log, 60) == 4


def test_a_run_of_an_interrupted_night_cleans_up(tmp_path: Path) -> None:
    log, cleaned = tmp_path / "cell.log", tmp_path / "cleaned"
    code = "import sys; from pathlib import Path; from harness.nightly.running import bounded; " + (
        f"bounded([sys.executable, '-c', {ENDLESS!r}, {str(cleaned)!r}], Path({str(log)!r}), 60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    limit = Deadline.after(30)
    while not (log.exists() and log.read_text()):
        limit.check("the run")
        time.sleep(0.02)
    worker.send_signal(signal.SIGINT)
    worker.wait(30)
    assert cleaned.exists()
