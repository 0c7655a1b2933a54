"""Host programs: a missing one, a slow one and one that prints much give different errors; locks; polling."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.host import locks, programs
from harness.host.programs import MissingProgramError, ProgramDeadlineError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def soon() -> Deadline:
    return Deadline.after(20.0)


def test_exit_code_and_both_streams_are_kept_apart() -> None:
    done = programs.run(
        python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), soon()
    )
    assert (done.code, done.stdout, done.stderr, done.said) == (3, b"out\n", b"err\n", "err")


def test_merged_output_is_in_order() -> None:
    code = "import os; [os.write(number, b'%d' % number) for number in (1, 2, 1)]"
    assert programs.run(python(code), soon(), merged=True).stdout == b"121"


def test_what_goes_in_comes_out_however_much_it_is() -> None:
    data = os.urandom(1 << 20)
    assert programs.run(["cat"], soon(), stdin=data).stdout == data


def test_a_program_that_does_not_read_its_input_ends_all_the_same() -> None:
    assert programs.run(["true"], soon(), stdin=bytes(1 << 20)).code == 0


def test_a_missing_program_is_reported_with_its_package() -> None:
    with pytest.raises(MissingProgramError) as caught:
        programs.run(["elf2dmp"], soon(), environment={"PATH": "/nowhere"})
    assert caught.value.message == "elf2dmp is not installed."
    assert caught.value.remedy == "Install it: apt-get install qemu-utils"


def test_a_program_that_may_not_be_run_is_reported_by_the_reason(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises(MissingProgramError, match=r"tool cannot be run: Permission denied"):
        programs.run([str(tmp_path / "tool")], soon())


def test_a_slow_program_is_killed_and_its_words_are_kept() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramDeadlineError, match=r"did not end within 0\.5 s") as caught:
        programs.run(python("import time; print('begun', flush=True); time.sleep(60)"), Deadline.after(0.5))
    assert caught.value.stdout == b"begun\n"
    assert time.monotonic() - began < 10


def test_a_child_that_holds_the_output_does_not_hold_the_caller() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramDeadlineError):
        programs.run(["sh", "-c", "sleep 15 & echo begun"], Deadline.after(0.5))
    assert time.monotonic() - began < 10


def lives(argument: str) -> bool:
    """Whether a process has that argument."""
    shown = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout
    return any(argument in line.split() for line in shown.splitlines())


def test_a_group_ends_at_the_deadline_though_its_leader_has_ended() -> None:
    with pytest.raises(ProgramDeadlineError):
        programs.run(["sh", "-c", "sleep 47.25 & exit 0"], Deadline.after(1.0), own_group=True)
    assert any(not lives("47.25") for _ in soon().tries(every=0.05))


@pytest.mark.parametrize("own_group", [False, True])
def test_a_child_that_holds_the_input_does_not_hold_the_caller(own_group: bool) -> None:
    began = time.monotonic()
    command = ["sh", "-c", "exec 3<&0; sleep 8 <&3 & exit 0"]
    with pytest.raises(ProgramDeadlineError):
        programs.run(command, Deadline.after(1.0), stdin=bytes(1 << 20), own_group=own_group)
    assert time.monotonic() - began < 4


def test_a_program_that_closes_its_output_has_the_deadline_too() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramDeadlineError):
        programs.run(["sh", "-c", "exec >&- 2>&-; exec sleep 15"], Deadline.after(0.5))
    assert time.monotonic() - began < 10


def test_kill_ends_the_group_of_a_program_that_has_ended_and_leaves_one_that_was_waited_for() -> None:
    with programs.start(["sh", "-c", "sleep 48.25 & exit 0"], own_group=True) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert lives("48.25")
        programs.kill(process)
        assert any(not lives("48.25") for _ in soon().tries(every=0.05))
        process.wait()
        programs.kill(process)  # its number may be another's by now
        assert process.returncode == 0


def test_output_beyond_the_limit_is_dropped_and_the_program_goes_on() -> None:
    done = programs.run(python("print('x' * 5_000_000); raise SystemExit(4)"), soon(), limit=1000)
    assert (done.code, done.stdout) == (4, b"x" * 1000)


def test_a_death_signal_ends_the_child_of_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from harness.host import programs\n"
        "child = programs.start(['sleep', '60'], death_signal='KILL')\n"
        "print(child.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()

    def alive() -> bool:
        try:
            return b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            return False

    assert any(not alive() for _ in soon().tries(every=0.02))


def test_a_group_of_its_own_is_not_the_callers() -> None:
    with programs.start(["sleep", "60"], own_group=True) as process:
        assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
        os.killpg(process.pid, signal.SIGKILL)


def test_a_lock_is_taken_once_and_waited_for_until_the_deadline(tmp_path: Path) -> None:
    lock = tmp_path / "made" / "lock"
    with locks.hold(lock):
        assert locks.is_held(lock)
        other = locks.opened(lock)
        assert not locks.take(other)
        assert not locks.take_by(other, Deadline.after(0.1))
        with locks.try_hold(lock) as free:
            assert not free
    assert locks.take_by(other, soon())
    os.close(other)
    assert not locks.is_held(lock)


def test_a_shared_lock_is_seen_and_does_not_exclude_others_that_share(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first, second = locks.opened(lock), locks.opened(lock)
    locks.share(first)
    locks.share(second)
    assert locks.is_shared(lock)
    assert not locks.is_held(lock)
    os.close(first)
    os.close(second)
    assert not locks.is_shared(lock)


def test_tries_end_with_one_after_the_deadline() -> None:
    now = [0.0]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    deadline = Deadline.after(1.0, lambda: now[0])
    assert list(deadline.tries(every=0.4, pause=pause)) == [1, 2, 3, 4]
    assert pauses == pytest.approx([0.4, 0.4, 0.2])
    assert list(deadline.tries(every=0.4, pause=pause)) == [1], "a deadline that has passed gives one try"
