"""The machine for real: libvirt, QEMU and a tiny guest, with owners in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.machine.leftovers import remove_leftovers
from harness.machine.processes import qemu_processes
from harness.machine.protocol import MemoryDump
from tests.fakes.owned_machine import Owner
from tests.fakes.tiny_guest import make_image

pytestmark = [
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="libvirt in this process needs root"),
]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Short path (libvirt's sockets), shared by the module so that the ready state is made once."""
    folder = Path(tempfile.mkdtemp(prefix="wvm-"))
    make_image(folder / "image")
    yield folder
    for run in (folder / "runs").glob("*"):
        (run / "kept").unlink(missing_ok=True)
    remove_leftovers(folder / "runs")
    shutil.rmtree(folder)


@pytest.fixture
def own(home: Path) -> Iterator[Callable[..., Owner]]:
    owners: list[Owner] = []

    def start(run: str = "") -> Owner:
        owners.append(Owner(home, home / "image", *filter(None, [run])))
        return owners[-1]

    yield start
    for owner in owners:
        if owner.process.poll() is None:
            owner.process.kill()
        owner.process.communicate()
    remove_leftovers(home / "runs")


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def console(owner: Owner) -> bytes:
    return Path(owner.answer["console"]).read_bytes()


def nothing_left(home: Path) -> bool:
    return not list((home / "runs").iterdir())


def test_a_machine_is_restored_from_the_saved_state_and_reverted(
    home: Path, own: Callable[..., Owner]
) -> None:
    owner = own()
    first = owner.read()
    assert first["state"] == "running"
    assert first["facts"] == {"said": "boot"}
    assert eventually(lambda: len(console(owner)) > 2)
    assert b"boot" not in console(owner), "a restored guest does not boot again"
    reverted = owner.tell("revert")
    assert reverted["generation"] == first["generation"] + 1
    assert reverted["ports"] == first["ports"]
    assert reverted["pids"] != first["pids"]
    assert "stopped destroyed" in reverted["events"]
    assert (Path(first["run"]) / "guest" / "console-1.log").read_bytes(), "the first generation's file stays"
    assert eventually(lambda: len(console(owner)) > 0)
    assert owner.end() == 0
    assert nothing_left(home)


def test_the_first_digit_after_each_revert_is_the_same(own: Callable[..., Owner]) -> None:
    owner = own()
    owner.read()
    firsts = []
    for _ in range(3):
        assert eventually(lambda: len(console(owner)) > 0)
        firsts.append(console(owner)[:1])
        owner.tell("revert")
    assert len(set(firsts)) == 1


def test_a_checkpoint_is_what_reverts_restore(home: Path, own: Callable[..., Owner]) -> None:
    owner = own()
    before = owner.read()
    assert eventually(lambda: len(console(owner)) > 2)
    saved = owner.tell("checkpoint")
    assert saved["generation"] == before["generation"] + 1
    assert saved["ports"] == before["ports"]
    firsts = set()
    for _ in range(2):
        assert eventually(lambda: len(console(owner)) > 0)
        firsts.add(console(owner)[:1])
        owner.tell("revert")
    assert len(firsts) == 1
    machine = Path(owner.answer["run"]) / "guest"
    record = json.loads((machine / "machine.json").read_text())
    assert record["ready"]["folder"] == str(machine / "checkpoint")
    assert owner.end() == 0
    assert nothing_left(home)


def test_suspend_resume_screenshot_and_stop(home: Path, own: Callable[..., Owner]) -> None:
    owner = own()
    owner.read()
    assert owner.tell("suspend")["state"] == "paused"
    # What the CPU wrote before it stopped has left QEMU when suspend returned.
    before = console(owner)
    time.sleep(0.2)
    assert console(owner) == before
    assert owner.tell("resume")["state"] == "running"
    assert eventually(lambda: len(console(owner)) > len(before))
    owner.tell("screenshot")
    assert (home / "screen.png").read_bytes().startswith(b"\x89PNG")
    stopped = owner.tell("stop")
    assert stopped["state"] == "stopped"
    assert stopped["pids"] == []
    assert owner.tell("start")["state"] == "running"


def test_two_runs_at_once_do_not_collide(own: Callable[..., Owner]) -> None:
    one, other = own(), own()
    first, second = one.read(), other.read()
    assert first["run"] != second["run"]
    assert not set(first["ports"].values()) & set(second["ports"].values())
    assert one.end() == 0
    assert other.tell("revert")["state"] == "running", "the end of one run leaves the other alone"


def test_kill_9_of_the_owner_ends_its_guest_and_the_next_run_leaves_nothing(
    home: Path, own: Callable[..., Owner]
) -> None:
    killed = own()
    pid = killed.read()["pids"][0]
    killed.process.kill()
    killed.process.wait()
    assert Path(killed.answer["run"]).exists(), "the folder outlives its owner: that is what must be cleaned"
    assert eventually(lambda: not _alive(pid)), "the watchdog ends QEMU"
    owner = own()
    assert owner.read()["run"] != killed.answer["run"]
    assert not Path(killed.answer["run"]).exists()
    assert eventually(lambda: not _alive(pid))
    assert owner.end() == 0
    assert nothing_left(home)


def test_a_kept_machine_is_no_leftover_and_is_taken_over(home: Path, own: Callable[..., Owner]) -> None:
    first = own()
    first.read()
    kept = first.tell("keep")
    assert first.end() == 0
    assert remove_leftovers(home / "runs") == []
    run = Path(kept["run"])
    assert qemu_processes(run) == kept["pids"]
    second = own(str(run))
    taken = second.read()
    assert (taken["ports"], taken["generation"], taken["state"]) == (kept["ports"], 1, "running")
    assert second.tell("revert")["generation"] == 2
    (run / "kept").unlink()
    assert second.end() == 0
    assert nothing_left(home)


def test_a_kept_machine_that_died_is_a_leftover(home: Path, own: Callable[..., Owner]) -> None:
    first = own()
    first.read()
    kept = first.tell("keep")
    assert first.end() == 0
    os.kill(kept["pids"][0], 9)
    assert eventually(lambda: qemu_processes(Path(kept["run"])) == [])
    assert [leftover.path for leftover in remove_leftovers(home / "runs")] == [Path(kept["run"])]


def test_a_qemu_that_dies_is_reported(own: Callable[..., Owner]) -> None:
    owner = own()
    pid = owner.read()["pids"][0]
    os.kill(pid, 9)
    assert eventually(lambda: not _alive(pid))
    assert eventually(lambda: any(event.startswith("stopped") for event in owner.tell("stop")["events"]))
    assert owner.tell("revert")["state"] == "running"


def test_an_nmi_reaches_the_guest(own: Callable[..., Owner]) -> None:
    owner = own()
    pid = owner.read()["pids"][0]
    owner.tell("inject_nmi")
    assert eventually(lambda: not _alive(pid)), "the tiny guest has no interrupt table: it triple-faults"
    assert owner.tell("revert")["state"] == "running"


def test_memory_is_dumped_as_elf_but_not_as_windows_of_a_guest_that_is_none(
    home: Path, own: Callable[..., Owner]
) -> None:
    owner = own()
    owner.read()
    assert owner.tell(MemoryDump.ELF)["state"] == "running"
    memory = home / "memory"
    assert memory.read_bytes()[:5] == b"\x7fELF\x02"
    assert memory.stat().st_size > 256 << 20
    refused = owner.tell(MemoryDump.WINDOWS)
    assert refused["error"] == "MachineError"
    assert "win-dump: invalid vmcoreinfo note size" in refused["message"]


def test_a_ready_state_that_does_not_restore_is_made_again(home: Path, own: Callable[..., Owner]) -> None:
    own().read()
    memory = next((home / "image").glob("ready-*")) / "memory.save"
    made = memory.stat().st_ino
    memory.chmod(0o600)
    with memory.open("r+b") as file:  # size and magic stay right: only the restore finds out
        file.seek(20_000)
        file.write(os.urandom(1_000_000))
    again = own().read()
    assert again["state"] == "running"
    assert next((home / "image").glob("ready-*")).joinpath("memory.save").stat().st_ino != made


def test_a_state_saved_by_another_version_is_left_alone(home: Path, own: Callable[..., Owner]) -> None:
    own().read()
    image = home / "image"
    state = next(image.glob("ready-*"))
    older = state.rename(image / "ready-0123456789ab")
    again = own().read()
    assert again["state"] == "running"
    assert older.is_dir()
    assert state.is_dir()
    shutil.rmtree(older)


def test_a_forward_whose_port_was_taken_gets_another(own: Callable[..., Owner]) -> None:
    first = own()
    first.read()
    kept = first.tell("keep")
    assert first.end() == 0
    run = Path(kept["run"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        record = run / "guest" / "machine.json"
        record.write_text(record.read_text().replace(str(kept["ports"]["ssh"]), str(port)))
        second = own(str(run))
        assert second.read()["ports"]["ssh"] == port
        reverted = second.tell("revert")
        assert reverted["state"] == "running"
        assert reverted["ports"]["ssh"] != port
    (run / "kept").unlink()
    assert second.end() == 0


def test_an_error_of_qemu_comes_with_its_words(home: Path, own: Callable[..., Owner]) -> None:
    image = home / "image"
    hidden = image.rename(home / "hidden")
    try:
        make_image(image)
        (image / "vmlinuz").write_bytes(b"no kernel")
        failed = own().read()
    finally:
        shutil.rmtree(image)
        hidden.rename(image)
    assert failed["error"] == "MachineError"
    assert "kernel" in failed["message"]
    assert "--- QEMU ---" in failed["detail"]
    assert eventually(lambda: nothing_left(home))


def _alive(pid: int) -> bool:
    """Ended processes may wait to be reaped by the process that inherited them."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False
