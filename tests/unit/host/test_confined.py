"""Confined programs: what they cannot reach, what they may not use, and how their end is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.host import confined
from harness.host.confined import Confinement, Limits
from harness.host.programs import Finished, MissingProgramError, ProgramDeadlineError

BUBBLEWRAP = confined.confinement() is Confinement.BUBBLEWRAP
needs_bubblewrap = pytest.mark.skipif(not BUBBLEWRAP, reason="bubblewrap does not run here")
SHORT = Limits(cpu_s=1, memory=256 << 20, file=1 << 20)
ROOT = Path(__file__).resolve().parents[3]
FORKS = "for (1..200) { my $p = fork; defined $p or exit 5; if (!$p) { sleep 2; exit } } exit 0"
WRITES = "for (@ARGV) { print qq($_ ) if open(F, '>', $_) && print(F 'written') && close(F) }"
each_user = pytest.mark.parametrize("user", ["0", "1000"] if os.geteuid() == 0 else [str(os.geteuid())])


def as_user(user: str, code: str) -> list[str]:
    """The words that Python code prints as that user; `c` is the module `confined`, `D` is `Deadline`."""
    start = "import os; from harness.host import confined as c; from harness.deadline import Deadline as D\n"
    setpriv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if os.geteuid() == 0 else []
    argv = [*setpriv, sys.executable, "-c", start + code]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def perl(code: str, *arguments: str, limits: Limits = SHORT, reads: list[Path] | None = None) -> Finished:
    argv = ["perl", "-e", code, *arguments]
    return confined.run(argv, Deadline.after(20), limits=limits, reads=reads or [])


def test_it_is_no_root_and_has_no_capability() -> None:
    done = perl("print qq($> $<)")
    user = confined._user()[0] if os.geteuid() == 0 else os.geteuid()
    assert done.stdout.decode() == f"{user} {user}"
    status = confined.run(["cat", "/proc/self/status"], Deadline.after(20))
    if not BUBBLEWRAP:  # which shows no /proc
        assert "CapEff:\t0000000000000000" in status.text


@needs_bubblewrap
def test_it_sees_only_what_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/file").write_text("given")
    (tmp_path / "kept").write_text("kept")
    show = "for (@ARGV) { print -e $_ ? 1 : 0 }"
    names = [str(tmp_path / "given/file"), str(tmp_path / "kept"), "/root", "/etc/passwd", "/proc", "/sys"]
    done = perl(show, *names, reads=[tmp_path / "given"])
    assert done.text == "100000"
    assert perl(f"open(F, '>', '{tmp_path}/given/new') or exit 7", reads=[tmp_path / "given"]).code == 7


@pytest.mark.skipif(confined.confinement() is Confinement.LIMITS, reason="no namespaces here")
def test_it_has_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            "use Socket; socket(S, PF_INET, SOCK_STREAM, 0);"
            f"exit(connect(S, sockaddr_in({port}, INADDR_LOOPBACK)) ? 0 : 9)"
        )
        assert perl(code).code == 9
        joined = confined.run(["perl", "-e", code], Deadline.after(20), network=True)
        assert joined.code == 0, "with network=True"


def test_memory_ends() -> None:
    done = perl("my $x = 'a' x $ARGV[0]; $x .= 'b'; print length $x", str(1 << 30))
    assert done.code != 0
    assert b"Out of memory" in done.stderr


def test_processor_time_ends() -> None:
    began = time.monotonic()
    done = perl("1 while 1")
    assert done.code in (-signal.SIGXCPU, -signal.SIGKILL)
    assert time.monotonic() - began < 15
    assert confined.describe(done.code, SHORT) == "needs more than 1 s of processor time"


def test_a_file_ends(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.touch()
    confined.hand_over(file)
    code = "open(F, '>', $ARGV[0]) or exit 3; $b = 'x' x 65536; while (1) { print F $b or exit 4 }"
    argv = ["perl", "-e", code, str(file)]
    if os.geteuid() == 0 and not BUBBLEWRAP:
        pytest.skip("the folder is root's, and bubblewrap does not run here")
    done = confined.run(argv, Deadline.after(20), writes=[file], limits=SHORT)
    assert confined.describe(done.code, SHORT) == "writes a file of more than 1 MiB"
    assert file.stat().st_size <= SHORT.file


@each_user
def test_processes_end(user: str) -> None:
    kind, code = as_user(
        user, f"print(c.confinement().name, c.run(['perl', '-e', {FORKS!r}], D.after(9)).code)"
    )
    if user != "0" and (kind == "LIMITS" or not confined._counts_namespaces()):
        pytest.skip("an ordinary user's processes are counted with the rest of that user's")
    assert code == "5"


@each_user
def test_it_writes_only_to_what_it_was_given(user: str) -> None:
    """The root and /dev of bubblewrap are file systems in memory, of half the host's each."""
    kind, *written = as_user(
        user,
        "print(c.confinement().name)\n"
        "c.confinement() is c.Confinement.BUBBLEWRAP or exit()\n"  # else the places are the host's
        "with c.folder('winvm-given-') as given:\n"
        " c.hand_over(given)\n"
        " places = ['/x', '/etc/x', '/dev/x', '/dev/shm/x', '/dev/null', '/tmp/x', f'{given}/x']\n"
        f" argv = ['perl', '-e', {WRITES!r}, *places]\n"
        " print(c.run(argv, D.after(9), writes=[given]).text)\n"
        " print((given / 'x').read_text())",
    )
    if kind != "BUBBLEWRAP":
        pytest.skip("bubblewrap does not run here")
    *places, given, content = written
    assert places == ["/dev/null", "/tmp/x"][: 1 if user == "0" else 2], "the /tmp that root makes is root's"
    assert given.endswith("/x")
    assert content == "written"


def test_a_signal_is_named() -> None:
    done = perl("kill 'SEGV', $$; sleep 5")
    assert done.code == -signal.SIGSEGV
    assert confined.describe(done.code) == "was ended by SIGSEGV"
    assert confined.describe(3) == "failed with exit code 3"


def test_a_deadline_ends_it_with_its_children() -> None:
    began = time.monotonic()
    with pytest.raises(ProgramDeadlineError):
        confined.run(["sleep", "31.4159"], Deadline.after(0.5))
    assert time.monotonic() - began < 5
    time.sleep(0.2)
    assert "31.4159" not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingProgramError, match="winvm-none is not installed"):
        confined.run(["winvm-none"], Deadline.after(5))


def test_only_regular_files_are_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("/dev/zero", str(tmp_path / "fifo"), str(tmp_path)):
        with pytest.raises(OSError, match="regular file"):
            confined.copied(Path(name), tmp_path / f"copy{len(name)}")
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(confined.COPY_LIMIT + 1)
    with pytest.raises(OSError, match="at most"):
        confined.copied(sparse, tmp_path / "copy")


def test_a_copy_has_the_same_bytes_and_holes(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"start")
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    confined.copied(tmp_path / "sparse", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("user", ["0", "1000"])
def test_root_and_an_ordinary_user_have_the_same_confinement(user: str) -> None:
    """Ends in bubblewrap for uid 1000 as well, where user namespaces are allowed."""
    kind, shown = as_user(user, "print(c.confinement().name, c.run(['id', '-u'], D.after(9)).text.strip())")
    expected = str(confined._user()[0]) if user == "0" else user
    assert shown == expected
    if user == "0":
        assert kind == confined.confinement().name


@pytest.mark.parametrize("kind", list(Confinement))
def test_each_kind_keeps_the_limits(kind: Confinement) -> None:
    """The weaker kinds, too: they are what a container without namespaces gets."""
    if kind < confined.confinement() and kind is not Confinement.LIMITS and not BUBBLEWRAP:
        pytest.skip(f"{kind} does not run here")
    true = Path("/usr/bin/perl")
    limited = [*confined._limits(SHORT, kind), str(true), "-e", "1 while 1"]
    words = confined._confine(kind, limited, true, (), ())
    done = subprocess.run(words, timeout=20, check=False, capture_output=True)
    assert done.returncode in (-signal.SIGKILL, -signal.SIGXCPU, 128 + signal.SIGKILL, 128 + signal.SIGXCPU)
