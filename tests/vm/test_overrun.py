"""A driver that overruns its stack: noticed in the scenario that made it, and named by its own function."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.overrun_driver import write_overrun_driver
from tests.vm.conftest import CommandLine


def test_an_overrun_names_the_function_of_the_driver(winvm: CommandLine, tmp_path: Path) -> None:
    folder = write_overrun_driver(tmp_path / "overrun")
    done = winvm.run("--config", str(folder / "winvm.toml"), "run", "--json", timeout=600)
    results = {one["name"]: one for one in json.loads(done.stdout)["scenarios"]}
    seen = {
        name.partition(".")[2]: (one["outcome"], (one["crash"] or {}).get("signature"))
        for name, one in results.items()
    }
    assert seen == {
        "overrun[a_little]": ("crashed", "c0000005-overrun.sys-Telling"),
        "overrun[far]": ("crashed", "c0000005-overrun.sys-Telling"),
        "overrun[silent]": ("crashed", "c0000005-overrun.sys-Control"),
        "untouched": ("passed", None),
    }, done.stderr.decode()
    cause = results["overrun.overrun[a_little]"]["crash"]["cause"]
    assert cause.startswith(
        "A function returned to address 0x4242424242424242: the return address on its stack"
    )
    assert done.returncode == 4


def test_a_smashed_stack_cookie_names_its_function(winvm: CommandLine, tmp_path: Path) -> None:
    """A fast-fail leaves no stack on Wine; the check of the cookie says where it was called."""
    folder = write_overrun_driver(tmp_path / "overrun", ["-fstack-protector-strong"])
    run = ("--config", str(folder / "winvm.toml"), "run", "overrun.overrun[silent]", "overrun.untouched")
    done = winvm.run(*run, "--json", timeout=600)
    results = {one["name"]: one for one in json.loads(done.stdout)["scenarios"]}
    assert results["overrun.untouched"]["outcome"] == "passed", done.stderr.decode()
    crash = results["overrun.overrun[silent]"]["crash"]
    assert crash["signature"] == "c0000409-overrun.sys-Silent"
    assert (
        "overran a buffer on its stack: the cookie before its return address was overwritten"
        in crash["cause"]
    )
    assert done.returncode == 4
