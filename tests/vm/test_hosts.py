"""Runs on libvirt daemons: several guests at once on one of this host, and on another host over SSH."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.machine.connection import QEMU_CONF
from harness.project import config
from tests.fakes.owned_machine import Owner
from tests.fakes.tiny_guest import make_image
from tests.soak.project import ROOT, Project, project
from tests.vm import own_libvirtd
from tests.vm.other_host import OtherHost, other_host

LOCAL = "qemu:///system"
CACHE = config.home() / "libvirt-cache"


class Counting(Owner):
    """One with a machine on a daemon, whose guest counts on its console."""

    def __init__(self, home: Path, uri: str, inside: tuple[str, ...] = ()) -> None:
        super().__init__(home, home / "images" / "tiny", uri, inside=inside)

    def counts(self) -> bool:
        """Whether the guest continued from its saved state, and has not booted."""
        console = Path(self.answer["console"])
        end = time.monotonic() + 30
        while len(said := console.read_bytes()) < 2:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return b"boot" not in said


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="wvm-"))
    make_image(folder / "images" / "tiny")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherHost]:
    try:
        with other_host(tmp_path_factory.mktemp("other"), CACHE) as host:
            yield host
    except own_libvirtd.NoLibvirtdError as none:
        pytest.skip(f"no other host: {none}")


def left(home: Path) -> list[Path]:
    return list((home / "runs").iterdir())


def test_two_guests_of_one_image_run_on_the_daemon_of_this_host(tmp_path: Path, home: Path) -> None:
    """One shell holds the daemon; both owners join it."""
    try:
        namespace = own_libvirtd.inside(tmp_path)
    except own_libvirtd.NoLibvirtdError as none:
        pytest.skip(f"no libvirtd: {none}")
    daemon = subprocess.Popen(
        [*namespace, "sh", "-c", "echo ready; read -r _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        join = ("nsenter", "-t", str(daemon.pid), "--mount", "--wd=" + str(ROOT))
        one, two = Counting(home, LOCAL, join), Counting(home, LOCAL, join)
        first, second = one.read(), two.read()
        assert first["state"] == second["state"] == "running"
        assert set(first["ports"].values()).isdisjoint(second["ports"].values())
        assert one.counts()
        assert two.counts()
        assert two.tell("revert")["generation"] == 2
        assert two.counts()
        one.process.kill()
        one.process.wait()
        three = Counting(home, LOCAL, join)
        assert three.read()["state"] == "running"
        assert not Path(first["run"]).exists(), "what the killed one left is gone"
        assert two.tell("checkpoint")["state"] == "running", "and nothing else"
        assert (two.end(), three.end()) == (0, 0)
        assert left(home) == []
    finally:
        daemon.communicate(timeout=30)


def test_two_guests_of_one_image_run_on_another_host(home: Path, other: OtherHost) -> None:
    one, two = Counting(home, other.uri), Counting(home, other.uri)
    first, second = one.read(), two.read()
    assert first["state"] == second["state"] == "running"
    assert first["pids"] == second["pids"] == [], "no QEMU runs here"
    assert len(other.domains()) == 2
    assert one.counts()
    reverted = two.tell("revert")
    assert reverted["generation"] == 2
    assert reverted["ports"] == second["ports"], "the local ends of the tunnel stay"
    assert two.counts()
    one.process.kill()
    one.process.wait()
    three = Counting(home, other.uri)
    assert three.read()["state"] == "running"
    assert not Path(first["run"]).exists(), "what the killed one left is gone"
    assert two.tell("suspend")["state"] == "paused", "and nothing else"
    assert len(other.domains()) == 2
    assert (two.end(), three.end()) == (0, 0)
    assert other.domains() == []
    assert left(home) == []


@pytest.mark.parametrize(
    ("conf", "hides", "words"),
    [
        (QEMU_CONF.replace('"root"', '"daemon"'), False, "runs as user and group +1:+1"),
        (QEMU_CONF.replace('"file" ', '"logd" '), False, "virtlogd, which cuts it at 2 MiB"),
        (QEMU_CONF, True, "does not share"),
    ],
)
def test_a_host_that_is_not_fit_for_runs_is_refused_with_the_remedy(
    tmp_path: Path, home: Path, conf: str, hides: bool, words: str
) -> None:
    try:
        with other_host(tmp_path, CACHE, conf, hidden=str(home) if hides else "") as host:
            refused = Counting(home, host.uri).read()
    except own_libvirtd.NoLibvirtdError as none:
        pytest.skip(f"no other host: {none}")
    assert refused["error"] == "HostError"
    assert words in refused["message"]
    assert "docs/nightly.md" in refused["message"]
    assert left(home) == []


def test_a_run_on_another_host(other: OtherHost) -> None:
    """Runs everything that needs the host's ports and clock: agent, files, a crash, its restore."""
    with project(uri=other.uri) as owned:
        with owned.start("-k", "knows_the_time or bugcheck_with_parameters") as run:
            output, errors = run.communicate(timeout=300)
        assert run.returncode == 0, (output + errors).decode()
        assert owned.latest()["counts"] == {"passed": 2}
        assert other.domains() == []
        assert owned.left() == []


def test_a_night_over_two_hosts(other: OtherHost) -> None:
    with project() as owned:
        document = night(owned, other)
    assert {cell["verdict"] for cell in document["cells"]} == {"quiet"}
    assert {cell["host"] for cell in document["cells"]} == {"this host", other.uri}
    assert other.domains() == []


def night(owned: Project, other: OtherHost) -> dict[str, Any]:
    """Two cells, and hosts with room for one each."""
    hosts = [f"{{ uri = {json.dumps(uri)}, memory_mib = 1500 }}" for uri in ("", other.uri)]
    with owned.config_path.open("a") as file:
        file.write(f"[nightly]\nhosts = [{', '.join(hosts)}]\n")
    with owned.start("--json", "-k", "knows_the_time", command="nightly") as run:
        output, errors = run.communicate(timeout=400)
    assert run.returncode == 0, (output + errors).decode()
    document: dict[str, Any] = json.loads(output)
    return document
