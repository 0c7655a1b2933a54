"""The zipapp: same bytes from the same inputs, and collecting it without trusting a scenario module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import HostError, ScenarioError
from harness.host.resources import _folder, guest_folder, vm_folder
from harness.outcome import CrashExpectation
from harness.toolchain.agent import build_agent, collect

GOOD = '''"""About ioctls."""
from agent import Context, Crash, scenario

KIND = "ioctl"


@scenario(needs=["irql"], tags=["slow"], expect_crash=Crash(bugcheck=0xE2, parameters=(1, None, 3, 4)))
def faults(t: Context) -> None:
    """It faults."""


@scenario(cases={"a": 1, "b": 2}, deadline_s=5, build="release", expect_dbgprint=["x.y"])
def works(t: Context, n: int) -> None:
    """It works."""
'''


def folder(path: Path, **modules: str) -> Path:
    path.mkdir()
    for name, source in modules.items():
        (path / f"{name}.py").write_text(source, encoding="utf-8")
    return path


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", good=GOOD, other="x = 1\n")
    first = build_agent(tmp_path / "a" / "agent.pyz", [scenarios]).read_bytes()
    for number, source in enumerate(scenarios.iterdir()):
        os.utime(source, (number, number))
    assert build_agent(tmp_path / "b.pyz", [scenarios]).read_bytes() == first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["agent.pyz"]


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from harness.toolchain.agent import *\n"
    program += 'build_agent(Path(sys.argv[1]), [guest_folder() / "scenarios"])'
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, str(tmp_path / seed)], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_modules_run_from_byte_code_and_tracebacks_show_their_source(tmp_path: Path) -> None:
    source = "print(__spec__.cached)\nraise OSError('here')  # told\n"
    pyz = build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "mine", raises=source)])
    program = "import traceback\ntry: import scenarios.raises\nexcept OSError: traceback.print_exc()"
    environment = {**os.environ, "PYTHONPATH": str(pyz)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("raises.pyc")
    assert 'raises.py", line 2' in done.stderr
    assert "raise OSError('here')  # told" in done.stderr


def test_collect_gives_the_metadata_with_source_files(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", good=GOOD)
    pyz = build_agent(tmp_path / "agent.pyz", [scenarios])
    faults, works_a, works_b = collect(pyz, [scenarios])
    assert (faults.name, faults.kind, faults.summary) == ("good.faults", "ioctl", "It faults.")
    assert (faults.needs, faults.tags) == (("irql",), ("slow",))
    assert faults.expect_crash == CrashExpectation(bugcheck=0xE2, parameters=(1, None, 3, 4))
    assert (faults.file, faults.line) == (str(scenarios / "good.py"), 7)
    assert [works_a.name, works_b.name] == ["good.works[a]", "good.works[b]"]
    assert (works_a.deadline_s, works_a.build, works_a.expect_dbgprint) == (5.0, "release", ("x.y",))
    assert collect(pyz)[0].file == "good.py"


def test_the_sample_scenarios_collect_on_this_machine(tmp_path: Path) -> None:
    folders = [guest_folder() / "scenarios"]
    found = collect(build_agent(tmp_path / "agent.pyz", folders), folders)
    assert len(found) >= 60
    assert all(one.summary for one in found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (\n", r"bad\.py:1: syntax error"),
        ("\n\nraise ValueError('no')\n", r"bad\.py:3: import failed: ValueError: no"),
        ("import sys\n\nsys.exit(0)\n", r"bad\.py:3: import failed: SystemExit"),
        (
            "import no_such_module\n",
            r"bad\.py:1: import failed: there is no module no_such_module\. The guest has",
        ),
        # Installed on this host, but not in the guest.
        (
            "import pytest\n",
            r"bad\.py:1: .*no module pytest\. .*`from scenarios import pytest`, or use pytest in",
        ),
        ("import yaml.nodes\n", r"no module yaml\. .* Copy yaml\.py into a scenario folder"),
        (
            "import winreg\n",
            r"winreg of the standard library does not exist on linux\. .* in the function that",
        ),
        ("from good import faults\n", r"no module good\. .*`from scenarios import good`"),
        ("import scenarios.sub.more\n", r"no module scenarios\.sub\. Only the \*\.py files .*: bad, good"),
        (
            "from agent.win32.kernel32 import CloseHandle\nCloseHandle.call(1)\n",
            r"bad\.py:2: .*on Windows only",
        ),
        (
            "from agent import scenario\n\n@scenario(build='x y')\ndef f(t): ...\n",
            r"bad\.py:3: build of bad\.f",
        ),
        (
            "from agent import scenario\n\n@scenario\nasync def f(t):\n    assert False\n",
            r":3: bad\.f is an async function, whose body would never run: .*for concurrency\. Correct",
        ),
        (
            "from agent import scenario\n\n@scenario(cases=[])\ndef f(t, n): ...\n",
            r":3: cases of bad\.f is empty, so that no scenario would run: .*leave cases out\. Correct",
        ),
    ],
)
def test_a_broken_module_is_named_with_file_and_line(tmp_path: Path, source: str, message: str) -> None:
    scenarios = folder(tmp_path / "mine", good=GOOD, bad=source)
    pyz = build_agent(tmp_path / "agent.pyz", [scenarios])
    with pytest.raises(ScenarioError, match=message) as raised:
        collect(pyz, [scenarios])
    assert str(scenarios) in raised.value.message


def test_a_module_that_prints_does_not_disturb_the_list(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", good="print('[1]')\n" + GOOD)
    assert len(collect(build_agent(tmp_path / "agent.pyz", [scenarios]), [scenarios])) == 3


def test_a_module_that_ends_the_process_is_reported(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", bad="import os\nos._exit(0)\n")
    with pytest.raises(ScenarioError, match="exit code 0 and printed no list"):
        collect(build_agent(tmp_path / "agent.pyz", [scenarios]))


def test_a_module_that_hangs_meets_the_deadline(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", bad="import time\ntime.sleep(60)\n")
    with pytest.raises(ScenarioError, match=r"did not finish within 0\.5 s"):
        collect(build_agent(tmp_path / "agent.pyz", [scenarios]), deadline=Deadline.after(0.5))


def test_a_list_of_another_shape_is_refused(tmp_path: Path) -> None:
    scenarios = folder(
        tmp_path / "mine", bad="import os\nprint('{\"scenarios\": [{}]}', flush=True)\nos._exit(0)\n"
    )
    with pytest.raises(ScenarioError, match="is invalid"):
        collect(build_agent(tmp_path / "agent.pyz", [scenarios]))


def test_two_folders_with_a_module_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [folder(tmp_path / "one", good=GOOD), folder(tmp_path / "two", good=GOOD)]
    with pytest.raises(ScenarioError, match=r"have a module good: .*one/good\.py and .*two/good\.py"):
        build_agent(tmp_path / "agent.pyz", folders)
    assert not (tmp_path / "agent.pyz").exists()


def test_a_folder_named_twice_is_taken_once(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", good=GOOD)
    assert len(collect(build_agent(tmp_path / "agent.pyz", [scenarios, scenarios]))) == 3


def test_empty_folders_and_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="has no Python file"):
        build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "empty")])
    with pytest.raises(ScenarioError, match="'two-words' is not a module name"):
        build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "bad", **{"two-words": ""})])


def test_the_zipapp_serves_on_windows_only(tmp_path: Path) -> None:
    pyz = build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "mine", good=GOOD)])
    done = subprocess.run(
        [sys.executable, "-I", pyz], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "on Windows only" in done.stderr


def standby(line: bytes) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-I", guest_folder() / "agent" / "standby.py"],
        input=line,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, [json.loads(event) for event in done.stdout.splitlines()]


def test_standby_becomes_the_zipapp_it_is_given(tmp_path: Path) -> None:
    pyz = build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "mine", good=GOOD)])
    code, events = standby(json.dumps({"cmd": "start", "zipapp": str(pyz)}).encode() + b"\n")
    assert (code, events) == (2, [{"event": "standby"}])  # 2: the agent itself, refusing to serve on Linux


def test_standby_says_what_it_cannot_start() -> None:
    assert standby(b"") == (0, [{"event": "standby"}])
    for line in (b"junk\n", b"[]\n", b'{"cmd":"stop"}\n'):
        code, events = standby(line)
        assert code == 2
        assert events[1]["event"] == "fatal"
    code, events = standby(b'{"cmd":"start","zipapp":"/no/such.pyz"}\n')
    assert code == 2
    assert "/no/such.pyz cannot be imported" in events[1]["message"]


def test_resources_are_found_here_and_in_a_wheel(tmp_path: Path) -> None:
    assert (guest_folder() / "agent" / "__main__.py").is_file()
    assert vm_folder().is_dir()
    assert list(_folder("driver/include").glob("*.h"))
    package = tmp_path / "site" / "harness"
    (package / "_bundled" / "guest").mkdir(parents=True)
    (package.parent / "guest").mkdir()  # somebody else's
    assert _folder("guest", package) == package / "_bundled" / "guest"
    with pytest.raises(HostError, match="vm is missing"):
        _folder("vm", package)


def test_assertions_are_kept_where_the_host_runs_optimised(tmp_path: Path) -> None:
    scenarios = folder(tmp_path / "mine", good=GOOD)
    program = (
        "import sys; from pathlib import Path; from harness.toolchain.agent import build_agent; "
        "build_agent(Path(sys.argv[1]), [Path(sys.argv[2])])"
    )
    for level in ("", "1", "2"):
        subprocess.run(
            [sys.executable, "-c", program, tmp_path / f"agent{level}.pyz", scenarios],
            env={**os.environ, "PYTHONOPTIMIZE": level},
            timeout=60,
            check=True,
        )
    plain = (tmp_path / "agent.pyz").read_bytes()
    assert [(tmp_path / f"agent{level}.pyz").read_bytes() == plain for level in ("1", "2")] == [True, True]


def test_the_agent_does_not_serve_optimised(tmp_path: Path) -> None:
    pyz = build_agent(tmp_path / "agent.pyz", [folder(tmp_path / "mine", good=GOOD)])
    done = subprocess.run(
        [sys.executable, "-I", "-O", pyz], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "does not serve with -O or PYTHONOPTIMIZE" in done.stderr
