"""Overlays, ports, run folders, leftovers, saved states, profiles and the fake, without a virtual machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, HostError, ImageError, MachineError
from harness.host import locks
from harness.host.ports import choose_ports, is_free
from harness.host.resources import vm_folder
from harness.machine.connection import Connection, within
from harness.machine.leftovers import remove_leftovers
from harness.machine.overlay import create_overlay, require_space
from harness.machine.processes import end_process, qemu_processes
from harness.machine.protocol import Machine, MachineState
from harness.machine.removal import LOCK, remove_tree
from harness.machine.runfolder import HALF_MADE, KEPT, open_lock
from harness.machine.savedstate import DISK, MEMORY, ReadyState, seal
from harness.machine.savefile import SAVE_MAGIC
from harness.project.measured import Measured, limited
from harness.project.profile import CAPABILITIES
from harness.project.profiles import find_profile, load_profile
from tests.fakes.machine import FakeMachine

SOON = 10.0


def test_ports_are_free_and_differ() -> None:
    ports = choose_ports(("winrm", "ssh", "third"), "127.0.0.1")
    assert len(set(ports.values())) == 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["winrm"]))
        taken.listen()
        assert not is_free(ports["winrm"], "127.0.0.1")
    assert is_free(ports["ssh"], "127.0.0.1")


def test_no_free_port_is_reported_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for bound in ("LOWEST", "HIGHEST"):
            monkeypatch.setattr(f"harness.host.ports.{bound}", taken.getsockname()[1])
        with pytest.raises(HostError, match=r"No free port between .* for winrm\. .*winvm down"):
            choose_ports(["winrm"], "127.0.0.1")


def test_an_overlay_needs_a_qcow2_base(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        create_overlay(tmp_path / "o", tmp_path / "absent", Deadline.after(SOON))
    (tmp_path / "raw").write_bytes(b"raw disk")
    with pytest.raises(ImageError, match="not qcow2"):
        create_overlay(tmp_path / "o", tmp_path / "raw", Deadline.after(SOON))


def test_a_full_disk_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="MiB free; a test needs") as caught:
        require_space(tmp_path, 2**60, "a test")
    assert "WINVM_HOME" in caught.value.remedy


def test_a_root_that_is_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="too long"):
        Connection.embedded(tmp_path / ("x" * 80))


def test_a_blocking_call_is_aborted_at_its_deadline() -> None:
    aborted = []
    with pytest.raises(DeadlineError, match="A slow call"):
        within(Deadline.after(0.05), "A slow call", lambda: time.sleep(0.3), lambda: aborted.append(True))
    assert aborted, "and again, until the call has ended"
    assert within(Deadline.after(SOON), "A quick one", lambda: 7, lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        within(Deadline.after(SOON), "A failing one", lambda: 1 // 0, lambda: None)


def start_as_qemu(folder: Path) -> subprocess.Popen[bytes]:
    """A process whose program is `folder`/qemu-system-x86_64, once its command line can be read in /proc."""
    folder.mkdir(parents=True)
    program = folder / "qemu-system-x86_64"
    program.symlink_to("/bin/sh")
    wait_forever = [str(program), "-c", "echo up; read _"]
    process = subprocess.Popen(wait_forever, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose program is called qemu-..., as in a run folder's pidfile."""
    with start_as_qemu(tmp_path / "bin") as process:
        yield process
        process.kill()


def test_no_process_is_ended_for_its_number_alone(tmp_path: Path, impostor: subprocess.Popen[bytes]) -> None:
    run = tmp_path / "runs" / "stale"
    run.mkdir(parents=True)
    (run / "guest.pid").write_text(str(impostor.pid))
    (run / "other.pid").write_text(str(os.getpid()))
    (run / "broken.pid").write_text("not a number")
    assert qemu_processes(run) == []
    assert not end_process(impostor.pid, run)
    remove_leftovers(tmp_path / "runs")
    assert not run.exists()
    assert impostor.poll() is None


def test_a_pidfile_that_is_none_is_passed_over_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "machine" / "sockets").mkdir(parents=True)
    os.mkfifo(run / "machine" / "sockets" / "x.pid")
    os.mkfifo(run / "machine" / "y.pid")
    (run / "machine" / "z.pid").symlink_to("/dev/zero")
    with start_as_qemu(run / "bin") as process:
        (run / "machine" / "sockets" / "own.pid").write_text(str(process.pid))
        assert qemu_processes(run) == []
        (run / "guest.pid").write_text(str(process.pid))
        assert qemu_processes(run) == [process.pid]
        process.kill()


def test_a_launcher_that_is_about_to_become_qemu_is_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    launcher = tmp_path / "qemu_launcher.py"
    launcher.write_text("import time; print('up', flush=True); time.sleep(60)")
    argv = [sys.executable, "-IS", str(launcher), f"{run}/disk.qcow2"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"  # its command line can be read by now
        (run / "guest.pid").write_text(str(process.pid))
        assert qemu_processes(run) == [process.pid]
        process.kill()


def test_the_qemu_of_a_run_is_ended_with_its_folder(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "stale"
    with start_as_qemu(run) as process:
        (run / "guest.pid").write_text(str(process.pid))
        (leftover,) = remove_leftovers(tmp_path / "runs")
        assert leftover.killed == (process.pid,)
        assert process.wait(SOON) == -9
    assert not run.exists()


def test_a_held_folder_is_no_leftover(tmp_path: Path) -> None:
    run = tmp_path / "live"
    run.mkdir()
    lock = open_lock(run)
    assert locks.take(lock)
    assert remove_leftovers(tmp_path) == []
    os.close(lock)
    assert [leftover.path for leftover in remove_leftovers(tmp_path)] == [run]


def test_half_made_folders_go_once_they_are_old(tmp_path: Path) -> None:
    half = tmp_path / f"{HALF_MADE}x"
    half.mkdir()
    assert remove_leftovers(tmp_path) == []
    os.utime(half, (0, 0))
    assert [leftover.path for leftover in remove_leftovers(tmp_path)] == [half]
    assert not half.exists()


def test_a_kept_folder_without_a_machine_is_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / KEPT).touch()
    assert len(remove_leftovers(tmp_path)) == 1


@contextlib.contextmanager
def writing(folder: Path, seconds: float) -> Iterator[None]:
    """Something that makes files below `folder` again and again, as libvirt's threads do at the end."""
    stop, end = threading.Event(), time.monotonic() + seconds

    def write() -> None:
        while not stop.wait(0.0005) and time.monotonic() < end:
            with contextlib.suppress(OSError):
                for each in (folder.parent, folder):
                    each.mkdir(exist_ok=True)  # not the root: what is gone as a whole stays gone
                (folder / "guest.pid").touch()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_folder_goes_although_something_still_writes_in_it_for_a_while(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "libvirt").mkdir(parents=True)
    os.close(open_lock(run))
    with writing(run / "libvirt" / "run" / "qemu", 0.5):
        while not (run / "libvirt" / "run" / "qemu").exists():
            time.sleep(0.001)
        remove_tree(run)
    assert not run.exists()


def test_a_folder_that_cannot_be_removed_keeps_its_lock_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "libvirt").mkdir(parents=True)
    os.close(open_lock(run))

    def busy(path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(HostError, match=r"cannot be removed: .*Device or resource busy"):
        remove_tree(run, 0.1)
    assert (run / LOCK).exists()
    monkeypatch.setattr("harness.machine.leftovers._REMOVAL_SECONDS", 0.1)
    (left,) = remove_leftovers(tmp_path)
    assert "Device or resource busy" in left.trouble
    monkeypatch.undo()
    (left,) = remove_leftovers(tmp_path)
    assert (left.path, left.trouble) == (run, "")
    assert not run.exists()


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.machine.runfolder import RunFolder\n"
        "from harness.deadline import Deadline\n"
        "runs = Path(sys.argv[1])\n"
        "with RunFolder.create(runs) as folder:\n"
        "    print(folder.path, flush=True); sys.stdin.read()\n"
    )
    attach = "RunFolder.attach(Path(sys.argv[1]), Deadline.after(0.2))"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    path = holder.stdout.readline().strip()
    second = [sys.executable, "-c", code.split("runs =")[0] + attach, path]
    assert "in use by another process" in subprocess.run(second, capture_output=True, text=True).stderr
    holder.communicate("")
    assert not Path(path).exists()
    assert "There is no run" in subprocess.run(second, capture_output=True, text=True).stderr


def sealed(folder: Path) -> ReadyState:
    draft = folder / ".ready-abc-1"
    draft.mkdir()
    (draft / MEMORY).write_bytes(SAVE_MAGIC + b"ram")
    (draft / DISK).write_bytes(b"QFI\xfb disk")
    return seal(draft, folder, "abc", {"shell": "1"})


def test_a_touched_byte_of_saved_memory_is_noticed(tmp_path: Path) -> None:
    state = sealed(tmp_path)
    assert ReadyState.find(tmp_path, "abc") == state
    state.memory.chmod(0o600)
    with state.memory.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert ReadyState.find(tmp_path, "abc") is None


def test_a_sealed_state_is_found_whole_and_read_only(tmp_path: Path) -> None:
    state = sealed(tmp_path)
    assert ReadyState.find(tmp_path, "abc") == state
    assert state.facts == {"shell": "1"}
    assert state.memory.stat().st_mode & 0o777 == 0o400
    assert ReadyState.find(tmp_path, "other") is None
    assert [path.name for path in tmp_path.iterdir()] == ["ready-abc"]


@pytest.mark.parametrize("name", [MEMORY, DISK, "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_an_incomplete_state_is_not_found(tmp_path: Path, name: str, damage: str) -> None:
    file = sealed(tmp_path).folder / name
    file.chmod(0o600)
    if damage == "missing":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2 if damage == "cut" else 0)
    assert ReadyState.find(tmp_path, "abc") is None


def test_a_save_that_was_interrupted_is_not_found(tmp_path: Path) -> None:
    memory = sealed(tmp_path).memory
    memory.chmod(0o600)
    memory.write_bytes(b"LibvirtQemudPart" + b"ram")
    assert ReadyState.find(tmp_path, "abc") is None


def test_a_state_made_again_is_another_one(tmp_path: Path) -> None:
    first = sealed(tmp_path)
    second = sealed(tmp_path)
    assert first != second
    assert ReadyState.find(tmp_path, "abc") == second
    second.discard()
    second.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_wine_lacks_was_measured() -> None:
    measured = Measured.model_validate_json((vm_folder() / "measured" / "wine.json").read_bytes())
    profile = limited(find_profile("wine"), measured)
    assert profile.missing_capabilities <= CAPABILITIES
    assert {"user-mdl-mapping", "kernel-dump"} <= profile.missing_capabilities
    assert profile.capabilities == CAPABILITIES - profile.missing_capabilities


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("vcpus = 1", "vcpus = 0", "hardware.vcpus"),
        ("vcpus = 1", "vcpu = 1", "hardware.vcpu"),
        ('"inf-package"', '"inf-pakage"', "inf-pakage"),
        ("boot = 300", "boot = -1", "timeouts.boot"),
        ("[hardware]", "[hardware", "not TOML"),
    ],
)
def test_a_wrong_profile_says_where(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = (Path(__file__).parents[3] / "vm" / "profiles" / "wine.toml").read_text()
    assert before in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(before, after))
    with pytest.raises(ConfigurationError, match=message):
        load_profile(file)


def test_the_fake_keeps_the_machines_promises(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path / "guest")
    machine: Machine = fake
    machine.start(Deadline.after(SOON))
    fake.write("dbgprint", b"first")
    with machine.channels.dbgprint.open("rb") as tail:
        machine.revert(Deadline.after(SOON))
        fake.write("dbgprint", b"second")
        assert tail.read() == b"first"
    assert machine.channels.dbgprint.read_bytes() == b"second"
    assert machine.generation == 2
    fake.die()
    assert [event.state for event in machine.events()][-1] is MachineState.STOPPED
    assert machine.events() == []
    fake.fail_next = MachineError("refused")
    with pytest.raises(MachineError, match="refused"):
        machine.start(Deadline.after(SOON))
    machine.destroy()
    machine.destroy()
    assert not (tmp_path / "guest").exists()


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_an_overlay_is_small_and_leaves_its_base_alone(tmp_path: Path) -> None:
    base = tmp_path / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "1G"], check=True)
    before = base.read_bytes()
    create_overlay(tmp_path / "overlay", base, Deadline.after(SOON))
    assert (tmp_path / "overlay").stat().st_size < 300_000
    assert base.read_bytes() == before
